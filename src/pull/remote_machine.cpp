#include "remote_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "icbd/base/child_program.h"

#include "ssh_words.h"

namespace icbd::pull {
namespace {

// ssh(1): its own errors. POSIX shells: a command that is not there.
constexpr int exit_ssh = 255;
constexpr int exit_not_found = 127;

// `btrfs subvolume show` takes half a KiB; one answer is held in memory as a whole.
constexpr std::size_t answer_max = std::size_t{64} << 20;
// A disk that hangs there must not hang us. Not for streams: the kernel may search for long.
constexpr std::chrono::minutes longest_silence{1};

// The last lines that mean something, as one printable line.
std::string last_lines(std::string_view said) {
  constexpr std::size_t lines_max = 3;
  constexpr std::size_t length_max = 600;
  std::vector<std::string> lines;
  for (const auto part : std::views::split(said, '\n')) {
    std::string line;
    for (const char c : part)
      if (c != '\r') line += c >= ' ' && c <= '~' ? c : '?';
    if (!line.empty()) lines.push_back(std::move(line));
  }
  std::string joined;
  const std::size_t skipped = lines.size() - std::min(lines_max, lines.size());
  for (const std::string& line : lines | std::views::drop(skipped))
    joined += (joined.empty() ? "" : "; ") + line;
  if (joined.size() > length_max) joined.erase(0, joined.size() - length_max);
  return joined.empty() ? "it does not say why" : joined;
}

}  // namespace

std::string RemoteMachine::address() const {
  return fmt::format("{}{}{}:{}", machine_.user, machine_.user.empty() ? "" : "@", machine_.host,
                     machine_.directory);
}

// The words are OpenSSH's (sshconnect.c, sshconnect2.c).
Error RemoteMachine::explain(int exit_code, std::string_view said) const {
  const std::string& host = machine_.host;
  const std::string why = last_lines(said);
  if (exit_code == exit_ssh && said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"))
    return {ErrorCode::permission_denied,
            fmt::format("{} shows another host key than the one that is known: nothing is taken "
                        "from it. If it was set up anew, take the old key away with ssh-keygen -R "
                        "and add the new one ([source] known_hosts)",
                        host)};
  if (exit_code == exit_ssh && said.contains("Host key verification failed"))
    return {ErrorCode::permission_denied,
            fmt::format("the host key of {} is not known: compare what ssh-keyscan {} prints with "
                        "the key there, and add it to known_hosts ([source] known_hosts): {}",
                        host, host, why)};
  if (exit_code == exit_ssh && said.contains("Permission denied ("))
    return {ErrorCode::permission_denied,
            fmt::format("{} does not accept the key ([source] key): add its public half to the "
                        "authorized_keys there: {}",
                        host, why)};
  if (exit_code == exit_ssh)
    return {ErrorCode::unavailable, fmt::format("ssh to {}: {}", host, why)};
  if (exit_code == exit_not_found)
    return {ErrorCode::unsupported,
            fmt::format("there is no btrfs on {}, or not where its shell looks without a terminal: "
                        "install btrfs-progs there, or say where ([source] remote_command): {}",
                        host, why)};
  return {ErrorCode::io, fmt::format("on {}: {} (exit code {})", host, why, exit_code)};
}

Result<std::string> RemoteMachine::ask(const std::string& command,
                                       const std::atomic<bool>& cancelled) const {
  std::string answer;
  const auto keep = [&answer](std::string_view piece) -> Status {
    if (answer.size() + piece.size() > answer_max)
      return fail(ErrorCode::too_large,
                  fmt::format("its list of snapshots has more than {} bytes", answer_max));
    answer += piece;
    return {};
  };
  const auto ended =
      run_child(ssh_words(machine_, command),
                {.cancelled = &cancelled, .on_output = keep, .longest_silence = longest_silence});
  if (!ended) return std::unexpected(ended.error().with_context(machine_.host));
  if (ended->exit_code != 0) return std::unexpected(explain(ended->exit_code, ended->errors));
  return answer;
}

Result<Images> RemoteMachine::images(const std::atomic<bool>& cancelled) const {
  ICBD_ASSIGN(const std::string answer, ask(list_images_command(machine_), cancelled));
  auto images = parse_images(answer);
  if (!images) return std::unexpected(images.error().with_context(machine_.host));
  return images;
}

Result<std::map<std::string, Listing>> RemoteMachine::snapshots(
    std::span<const std::string> images, const std::atomic<bool>& cancelled) const {
  ICBD_ASSIGN(const std::string answer, ask(list_snapshots_command(machine_, images), cancelled));
  auto listings = parse_snapshots(answer);
  if (!listings) return std::unexpected(listings.error().with_context(machine_.host));
  return listings;
}

Status RemoteMachine::send(const Snapshot& snapshot, const Snapshot* parent, bool packed,
                           const std::atomic<bool>& cancelled,
                           const std::function<Status(ByteView)>& sink) const {
  const auto ended =
      run_child(ssh_words(machine_, send_command(machine_, snapshot, parent, packed)),
                {.cancelled = &cancelled,
                 .on_output = [&sink](std::string_view piece) { return sink(as_bytes(piece)); }});
  if (!ended) return std::unexpected(ended.error());
  if (ended->exit_code != 0) return std::unexpected(explain(ended->exit_code, ended->errors));
  return {};
}

}  // namespace icbd::pull
