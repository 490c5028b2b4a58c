#include "address.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <memory>

#include "icbd/wire/remote_source.h"
#include "icbd/wire/server.h"

namespace icbd::wire {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<AddressList> resolve(const std::string& address, int flags) {
  ICBD_ASSIGN(const HostAndPort parts, parse_address(address));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(parts.host.c_str(), parts.port.c_str(), &hints, &found);
      error != 0)
    return fail(ErrorCode::unavailable,
                fmt::format("cannot find the host of {}: {}", address, gai_strerror(error)));
  return AddressList(found, &freeaddrinfo);
}

void set_option(int socket, int level, int option, int value) {
  // What is set here makes a connection better; none of it is needed.
  static_cast<void>(setsockopt(socket, level, option, &value, sizeof value));
}

Status wait_until_connected(int socket, const std::string& what,
                            std::chrono::milliseconds timeout) {
  pollfd waiting{.fd = socket, .events = POLLOUT, .revents = 0};
  int ready;
  do ready = poll(&waiting, 1, static_cast<int>(timeout.count()));
  while (ready < 0 && errno == EINTR);
  if (ready < 0) return fail_errno(what);
  if (ready == 0) return fail_errno(what, ETIMEDOUT);
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return fail_errno(what);
  if (error != 0) return fail_errno(what, error);
  return {};
}

Result<unique_fd> connect_to(const addrinfo& target, const std::string& what,
                             std::chrono::milliseconds timeout) {
  unique_fd socket(::socket(target.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(what);
  tune_connection(socket.get());
  if (connect(socket.get(), target.ai_addr, target.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return fail_errno(what);
    ICBD_TRY(wait_until_connected(socket.get(), what, timeout));
  }
  if (fcntl(socket.get(), F_SETFL, 0) != 0) return fail_errno(what);
  return socket;
}

}  // namespace

Result<HostAndPort> parse_address(std::string_view address) {
  const auto malformed = [&] {
    return fail(ErrorCode::invalid_argument,
                fmt::format("\"{}\" is not an address: write HOST:PORT, as in 127.0.0.1:5010 or "
                            "[::1]:5010",
                            address));
  };
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return malformed();
  std::string_view host = address.substr(0, colon);
  const std::string_view port = address.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find_first_of(bracketed ? "[]" : "[]:") != std::string_view::npos)
    return malformed();
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size()) return malformed();
  return HostAndPort{std::string(host), std::string(port)};
}

std::string local_host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  // The last byte stays zero: gethostname(2) need not end a name that it cut.
  if (gethostname(name, sizeof name - 1) != 0) return "unnamed";
  return name;
}

void tune_connection(int socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  // A peer that acknowledges nothing has gone; without this the kernel tries for a quarter of an
  // hour.
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 120'000);
  // Enough for what is under way on 1 Gb/s with a round trip of 100 ms. Only with the privilege to
  // go over net.core.rmem_max: a smaller fixed size would be worse than the kernel's own tuning,
  // which setting any size ends.
  constexpr int buffer_size = 16 * 1024 * 1024;
  set_option(socket, SOL_SOCKET, SO_RCVBUFFORCE, buffer_size);
  set_option(socket, SOL_SOCKET, SO_SNDBUFFORCE, buffer_size);
}

Connector tcp_connector(std::string address, std::chrono::milliseconds timeout) {
  return [address = std::move(address), timeout]() -> Result<unique_fd> {
    ICBD_ASSIGN(const AddressList targets, resolve(address, 0));
    const std::string what = fmt::format("connect to {}", address);
    Result<unique_fd> last = fail(ErrorCode::unavailable, what);
    for (const addrinfo* target = targets.get(); target != nullptr; target = target->ai_next) {
      last = connect_to(*target, what, timeout);
      if (last) break;
    }
    return last;
  };
}

Result<unique_fd> listen_on(const std::string& address) {
  ICBD_ASSIGN(const AddressList targets, resolve(address, AI_PASSIVE));
  const std::string what = fmt::format("listen on {}", address);
  unique_fd socket(::socket(targets->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(what);
  // A restarted daemon takes its port at once, while old connections are still being closed.
  set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(socket.get(), targets->ai_addr, targets->ai_addrlen) != 0 ||
      listen(socket.get(), SOMAXCONN) != 0)
    return fail_errno(what);
  return socket;
}

Result<std::string> bound_address(int listening_fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(listening_fd, address, &length) != 0) return fail_errno("getsockname");
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (const int error = getnameinfo(address, length, host, sizeof host, port, sizeof port,
                                    NI_NUMERICHOST | NI_NUMERICSERV);
      error != 0)
    return fail(ErrorCode::io, fmt::format("getnameinfo: {}", gai_strerror(error)));
  return storage.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                       : fmt::format("{}:{}", host, port);
}

}  // namespace icbd::wire
