// A TCP proxy that lets every byte arrive later, as a long line does: the delay that this kernel's
// queueing disciplines may not have. How fast the line is, others decide (bench/link.py: tc).
//
// Listens here and connects from a network namespace, so that one link between the two is all that
// has to be slow, and the sender at its other end meets it with its own TCP. What is under way is
// bounded. Prints its address, then runs until it is killed.
//   delay_proxy NETNS TO_IP TO_PORT DELAY_MICROSECONDS BYTES_UNDER_WAY
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

constexpr std::size_t piece_length = 64 * 1024;
// What waits in a socket is no part of the line: as little as keeps it busy.
constexpr int unsent_bytes = 32 * 1024;
constexpr const char* listen_ip = "127.0.0.1";

struct Arguments {
  std::string namespace_path;
  std::string to;
  std::uint16_t port = 0;
  std::chrono::microseconds delay{};
  std::size_t under_way = 0;
};

// The bytes of one direction that have left one end and not reached the other.
class Line {
 public:
  Line(std::chrono::microseconds delay, std::size_t capacity)
      : delay_(delay), capacity_(capacity) {}

  // Blocks while too much is under way. An empty piece is the end.
  void put(Bytes piece) {
    const TimePoint due = std::chrono::steady_clock::now() + delay_;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return under_way_ < capacity_ || piece.empty() || closed_; });
    under_way_ += piece.size();
    pieces_.push_back({due, std::move(piece)});
    changed_.notify_all();
  }
  // Blocks until the next piece is there.
  Bytes take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !pieces_.empty(); });
    auto [due, piece] = std::move(pieces_.front());
    pieces_.pop_front();
    lock.unlock();
    std::this_thread::sleep_until(due);
    return piece;
  }
  void delivered(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    under_way_ -= bytes;
    changed_.notify_all();
  }
  // Nobody takes any more.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  struct Piece {
    TimePoint due;
    Bytes bytes;
  };

  std::chrono::microseconds delay_;
  std::size_t capacity_;
  std::mutex mutex_;  // guards what is below
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  std::size_t under_way_ = 0;
  bool closed_ = false;
};

void read_all(int from, Line& line) {
  for (;;) {
    Bytes piece(piece_length);
    const ssize_t length = ::recv(from, piece.data(), piece.size(), 0);
    piece.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    const bool ended = piece.empty();
    line.put(std::move(piece));
    if (ended) return;
  }
}

bool send_all(int to, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

void write_all(int from, int to, Line& line) {
  for (;;) {
    const Bytes piece = line.take();
    if (piece.empty()) {
      ::shutdown(to, SHUT_WR);
      return;
    }
    if (!send_all(to, piece)) break;
    line.delivered(piece.size());
  }
  line.close();
  ::shutdown(from, SHUT_RD);  // whoever reads there ends
}

void carry(int from, int to, const Arguments& arguments) {
  Line line(arguments.delay, arguments.under_way);
  const std::jthread reader([&] { read_all(from, line); });
  write_all(from, to, line);
}

void set_option(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

sockaddr_in address_of(const std::string& ip, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return address;
}

// A socket belongs to the namespace that it was made in. This thread stays there.
Result<unique_fd> connect_from_namespace(const Arguments& arguments) {
  const unique_fd other(::open(arguments.namespace_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!other || ::setns(other.get(), CLONE_NEWNET) != 0)
    return fail_errno("enter " + arguments.namespace_path);
  unique_fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = address_of(arguments.to, arguments.port);
  if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    return fail_errno("connect to " + arguments.to);
  return server;
}

void serve(unique_fd client, const Arguments& arguments) {
  const auto server = connect_from_namespace(arguments);
  if (!server) {
    fmt::print(stderr, "delay_proxy: {}\n", server.error().message());
    return;
  }
  for (const int socket : {client.get(), server->get()}) {
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes);
  }
  const std::jthread up([&] { carry(client.get(), server->get(), arguments); });
  carry(server->get(), client.get(), arguments);
}

Status run(const Arguments& arguments) {
  const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = address_of(listen_ip, 0);
  socklen_t length = sizeof address;
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(listener.get(), SOMAXCONN) != 0 ||
      ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return fail_errno("listen");
  fmt::print("ready data={}:{}\n", listen_ip, ntohs(address.sin_port));
  std::fflush(stdout);
  for (;;) {
    unique_fd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) return fail_errno("accept");
    std::thread(serve, std::move(client), std::cref(arguments)).detach();
  }
}

template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<Arguments> parse(std::span<char*> words) {
  if (words.size() != 6) return std::nullopt;
  Arguments arguments{.namespace_path = words[1], .to = words[2]};
  std::int64_t microseconds = 0;
  if (!read_number(words[3], arguments.port) || !read_number(words[4], microseconds) ||
      !read_number(words[5], arguments.under_way))
    return std::nullopt;
  arguments.delay = std::chrono::microseconds(microseconds);
  return arguments;
}

}  // namespace
}  // namespace icbd

int main(int count, char** words) {
  const auto arguments = icbd::parse({words, static_cast<std::size_t>(count)});
  if (!arguments) {
    fmt::print(stderr,
               "usage: delay_proxy NETNS TO_IP TO_PORT DELAY_MICROSECONDS "
               "BYTES_UNDER_WAY\n");
    return 2;
  }
  if (const icbd::Status status = icbd::run(*arguments); !status)
    fmt::print(stderr, "delay_proxy: {}\n", status.error().message());
  return 1;
}
