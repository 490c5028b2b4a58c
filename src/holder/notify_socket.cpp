#include "notify_socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace icbd::holder {
namespace {

constexpr std::size_t longest_message = 8192;

// Descriptors first: whatever else is wrong, they must be closed.
void read_control(msghdr& header, pid_t& sender, unique_fd& descriptor) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof number);
        descriptor = unique_fd(number);  // one is expected; of more, the last
      }
    } else if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials{};
      std::memcpy(&credentials, CMSG_DATA(part), sizeof credentials);
      sender = credentials.pid;
    }
  }
}

}  // namespace

std::string Message::value(std::string_view name) const {
  const auto found =
      std::ranges::find(assignments, name, &std::pair<std::string, std::string>::first);
  return found == assignments.end() ? std::string() : found->second;
}

bool Message::has(std::string_view name) const {
  return std::ranges::find(assignments, name, &std::pair<std::string, std::string>::first) !=
         assignments.end();
}

std::vector<std::pair<std::string, std::string>> parse_assignments(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> all;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    all.emplace_back(line.substr(0, equals), line.substr(equals + 1));
  }
  return all;
}

Result<NotifySocket> NotifySocket::open() {
  unique_fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("make the holder's socket");
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return fail_errno("ask for the credentials of senders");
  // With the family alone the kernel chooses an abstract name (unix(7), autobind).
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)) != 0)
    return fail_errno("name the holder's socket");
  socklen_t length = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return fail_errno("ask for the name of the holder's socket");
  const std::size_t name_length = length - offsetof(sockaddr_un, sun_path);
  if (name_length < 2) return fail(ErrorCode::internal, "the holder's socket got no name");
  return NotifySocket(std::move(socket), "@" + std::string(&address.sun_path[1], name_length - 1));
}

std::optional<Message> NotifySocket::receive(pid_t from) const {
  for (;;) {
    std::array<char, longest_message> text{};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int) * 16)>
        control{};
    iovec data{.iov_base = text.data(), .iov_len = text.size()};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t length = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return std::nullopt;
    Message message;
    pid_t sender = 0;
    read_control(header, sender, message.descriptor);
    if (sender != from || (header.msg_flags & MSG_TRUNC) != 0) continue;
    message.assignments =
        parse_assignments(std::string_view(text.data(), static_cast<std::size_t>(length)));
    return message;
  }
}

}  // namespace icbd::holder
