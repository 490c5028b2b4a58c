#include "icbd/base/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

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

Status notify_service_manager(std::string_view state) {
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
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address), length) < 0)
    return fail_errno("notify the service manager");
  return {};
}

}  // namespace icbd
