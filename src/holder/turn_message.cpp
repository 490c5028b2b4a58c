#include "turn_message.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "notify_socket.h"

namespace icbd::holder {
namespace {

constexpr std::size_t longest_message = 8192;
using Control = std::array<std::byte, CMSG_SPACE(sizeof(int) * most_descriptors)>;

// Line breaks would begin another assignment.
std::string one_line(std::string text) {
  for (char& letter : text)
    if (letter == '\n' || letter == '\0') letter = ' ';
  return text;
}

Status send(int socket, const std::string& text, const std::vector<int>& descriptors) {
  if (descriptors.size() > most_descriptors)
    return fail(ErrorCode::too_large, "more descriptors are kept than can be given to a worker");
  iovec data{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);
  }
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) return fail_errno("speak to a worker");
  return {};
}

std::vector<unique_fd> take_descriptors(msghdr& message) {
  std::vector<unique_fd> all;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(part) + at, sizeof descriptor);
      all.emplace_back(descriptor);
    }
  }
  return all;
}

Turn make_turn(const Message& message, std::vector<unique_fd> descriptors) {
  Turn turn{.descriptors = {}, .starts = 0, .last_end = message.value("LAST_END")};
  const std::string starts = message.value("STARTS");
  std::from_chars(starts.data(), starts.data() + starts.size(), turn.starts);
  std::size_t next = 0;
  for (const auto& [name, value] : message.assignments)
    if (name == "DESCRIPTOR" && next < descriptors.size())
      turn.descriptors.push_back({value, std::move(descriptors[next++])});
  return turn;
}

}  // namespace

Status send_turn(int socket, unsigned starts, const std::string& last_end,
                 const std::vector<NamedDescriptor>& descriptors) {
  std::string text = fmt::format("STARTS={}\nLAST_END={}\n", starts, one_line(last_end));
  std::vector<int> numbers;
  for (const NamedDescriptor& named : descriptors) {
    text += fmt::format("DESCRIPTOR={}\n", named.name);
    numbers.push_back(named.descriptor);
  }
  return send(socket, text, numbers);
}

Status send_upgrade_failure(int socket, const std::string& why) {
  return send(socket, "UPGRADE_FAILURE=" + one_line(why) + "\n", {});
}

Result<std::optional<Received>> receive_from_holder(int socket, bool wait) {
  std::array<char, longest_message> text{};
  alignas(cmsghdr) Control control{};
  iovec data{.iov_base = text.data(), .iov_len = text.size()};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t length = 0;
  do length = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  while (length < 0 && errno == EINTR);
  if (length < 0 && errno == EAGAIN) return std::nullopt;
  if (length < 0) return fail_errno("listen to the holder");
  if (length == 0) return fail(ErrorCode::cancelled, "the holder needs no worker any more");
  std::vector<unique_fd> descriptors = take_descriptors(header);
  Message message;
  message.assignments =
      parse_assignments(std::string_view(text.data(), static_cast<std::size_t>(length)));
  Received received;
  if (message.has("STARTS"))
    received.turn = make_turn(message, std::move(descriptors));
  else
    received.upgrade_failure = message.value("UPGRADE_FAILURE");
  return received;
}

}  // namespace icbd::holder
