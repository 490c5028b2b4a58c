#include "icbd/base/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

// "" if it is not set.
std::string_view variable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here sets variables of the environment.
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::chrono::microseconds> watchdog_timeout() {
  // A variable that was meant for a parent is inherited: it names the process it is for.
  const std::string_view process = variable("WATCHDOG_PID");
  if (!process.empty() && number_in(process) != static_cast<std::uint64_t>(::getpid()))
    return std::nullopt;
  const auto timeout = number_in(variable("WATCHDOG_USEC"));
  if (!timeout || *timeout == 0 || *timeout > std::numeric_limits<std::int64_t>::max())
    return std::nullopt;
  return std::chrono::microseconds(static_cast<std::int64_t>(*timeout));
}

namespace {

// Sends one datagram, with a descriptor if it is not negative.
Status send_state(std::string_view state, int descriptor) {
  const std::string_view path = variable("NOTIFY_SOCKET");
  if (path.empty()) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::invalid_argument, "NOTIFY_SOCKET is longer than a socket's name can be");
  std::memcpy(address.sun_path, path.data(), path.size());
  // "@" stands for the zero byte that begins an abstract name.
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const unique_fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a socket for NOTIFY_SOCKET");

  iovec data{.iov_base = const_cast<char*>(state.data()), .iov_len = state.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0)
    return fail_errno("notify the service manager");
  return {};
}

}  // namespace

Status notify_service_manager(std::string_view state) {
  return send_state(state, -1);
}

Status keep_descriptor(std::string_view name, int descriptor) {
  // FDPOLL=0: it is kept also when its other end has gone.
  return send_state("FDSTORE=1\nFDPOLL=0\nFDNAME=" + std::string(name), descriptor);
}

}  // namespace icbd
