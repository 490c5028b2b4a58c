#include "system/qemu_guest.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <sstream>

#include "icbd/base/unique_fd.h"

#include "system/export_server.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;

constexpr timeval answer_deadline{.tv_sec = 60, .tv_usec = 0};
constexpr const char* greeting_over = R"({"execute": "qmp_capabilities"})";

// The monitor's end: a line of JSON for each command, a line for each answer.
class Monitor {
 public:
  static Result<Monitor> connect(const std::string& path) {
    Monitor monitor;
    monitor.socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
      return fail(ErrorCode::invalid_argument, path + " is too long for a socket");
    path.copy(address.sun_path, path.size());
    if (::setsockopt(monitor.socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &answer_deadline,
                     sizeof answer_deadline) != 0 ||
        ::connect(monitor.socket_.get(), reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) != 0)
      return fail_errno("connect to " + path);
    ICBD_TRY(monitor.read_line());  // who it is
    return monitor;
  }

  // Its answer; an error if it refuses.
  Result<json> tell(const std::string& line) {
    const std::string sent = line + "\n";
    if (::send(socket_.get(), sent.data(), sent.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(sent.size()))
      return fail_errno("send " + line);
    while (true) {
      ICBD_ASSIGN(const std::string answer, read_line());
      const json said = json::parse(answer, nullptr, false);
      if (said.is_object() && said.contains("return")) return said.at("return");
      // What else comes are events.
      if (!said.is_object() || !said.contains("event"))
        return fail(ErrorCode::io, line + ": " + answer);
    }
  }

 private:
  Monitor() = default;

  Result<std::string> read_line() {
    auto end = pending_.find('\n');
    while (end == std::string::npos) {
      std::array<char, 4096> piece;
      const ssize_t got = ::read(socket_.get(), piece.data(), piece.size());
      if (got < 0) return fail_errno("read from qemu's monitor");
      if (got == 0) return fail(ErrorCode::unavailable, "qemu's monitor has closed: " + pending_);
      pending_.append(piece.data(), static_cast<std::size_t>(got));
      end = pending_.find('\n');
    }
    std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    return line;
  }

  unique_fd socket_;
  std::string pending_;
};

}  // namespace

Result<std::unique_ptr<QemuGuest>> QemuGuest::start(const Site& site, const std::string& command) {
  std::unique_ptr<QemuGuest> guest(new QemuGuest(site.folder()));
  std::string script = replaced(command, "/run/debian.qmp", guest->monitor_);
  script = replaced(std::move(script), "qemu-system-x86_64",
                    "exec qemu-system-x86_64 -S -accel tcg -nodefaults -display none");
  ICBD_ASSIGN(guest->process_,
              harness::Process::start({"setpriv", "--pdeathsig", "KILL", "sh", "-e", "-c", script},
                                      {.log_directory = site.folder(), .name = "guest"}));
  const Status up = Site::wait_until([&] { return Monitor::connect(guest->monitor_).has_value(); },
                                     "the monitor of qemu");
  if (!up)
    return fail(up.error().code(), up.error().message() + ": " + guest->process_->error_output());
  return guest;
}

Status QemuGuest::tell(const std::string& lines) const {
  ICBD_ASSIGN(Monitor monitor, Monitor::connect(monitor_));
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);)
    if (!line.empty()) ICBD_TRY(monitor.tell(line));
  return {};
}

Status QemuGuest::use_disk(const std::string& command) const {
  const json arguments{{"command-line", fmt::format("qemu-io virtio0 \"{}\"", command)}};
  const json line{{"execute", "human-monitor-command"}, {"arguments", arguments}};
  return tell(fmt::format("{}\n{}", greeting_over, line.dump()));
}

Status QemuGuest::export_disk() const {
  ICBD_ASSIGN(Monitor monitor, Monitor::connect(monitor_));
  ICBD_TRY(monitor.tell(greeting_over));
  ICBD_ASSIGN(const json disks, monitor.tell(R"({"execute": "query-block"})"));
  const json address{{"type", "unix"}, {"data", {{"path", server_}}}};
  ICBD_TRY(monitor.tell(
      json{{"execute", "nbd-server-start"}, {"arguments", {{"addr", address}}}}.dump()));
  // The layer that the guest has: its name is qemu's own.
  const json disk{{"type", "nbd"},
                  {"id", "disk"},
                  {"name", "disk"},
                  {"node-name", disks.at(0).at("inserted").at("node-name")}};
  ICBD_TRY(monitor.tell(json{{"execute", "block-export-add"}, {"arguments", disk}}.dump()));
  return {};
}

std::string QemuGuest::disk_url() const {
  return fmt::format("nbd+unix:///disk?socket={}", server_);
}

}  // namespace icbd::system_test
