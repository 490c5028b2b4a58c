#include "harness/fault_proxy.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/unique_fd.h"

namespace icbd::harness {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t buffer_size = 64 * 1024;
constexpr std::size_t frame_header_size = 32;
constexpr std::size_t frame_length_offset = 8;
// How long a frame is held back for another to overtake it. If none comes, it goes on alone, and
// the fault waits for a better moment.
constexpr milliseconds overtaking_time{100};

Result<sockaddr_in> parse_address(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in result{};
  result.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, address.substr(0, colon).c_str(), &result.sin_addr) != 1)
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is no IPv4 address", address));
  result.sin_port = htons(static_cast<std::uint16_t>(std::stoul(address.substr(colon + 1))));
  return result;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Which bytes of a stream are one frame.
class FrameCursor {
 public:
  bool at_start() const { return header_size_ == 0; }
  // How many of the bytes belong to the frame that is under way.
  std::size_t take(ByteView bytes) {
    std::size_t taken = std::min(frame_header_size - header_size_, bytes.size());
    std::copy_n(bytes.begin(), taken, header_.begin() + static_cast<std::ptrdiff_t>(header_size_));
    header_size_ += taken;
    if (header_size_ < frame_header_size) return taken;
    if (taken > 0) {
      std::uint32_t length = 0;
      std::memcpy(&length, &header_[frame_length_offset], sizeof length);
      payload_left_ = length;
    }
    const std::size_t payload = std::min<std::size_t>(payload_left_, bytes.size() - taken);
    payload_left_ -= payload;
    if (payload_left_ == 0) header_size_ = 0;
    return taken + payload;
  }

 private:
  std::array<std::byte, frame_header_size> header_{};
  std::size_t header_size_ = 0;
  std::uint64_t payload_left_ = 0;
};

// Both sockets of one proxied connection; closed when both pumps have let go.
struct Link {
  unique_fd client, server, ending{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> ended = false;

  void end() {
    ended = true;
    eventfd_write(ending.get(), 1);
  }
  // Closing sends RST from now on.
  void prepare_reset() const {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    for (const int fd : {client.get(), server.get()})
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  // False if the link is ending.
  bool wait(int fd, short events) const {
    std::array<pollfd, 2> waited{pollfd{fd, events, 0}, pollfd{ending.get(), POLLIN, 0}};
    while (poll(waited.data(), waited.size(), -1) < 0)
      if (errno != EINTR) return false;
    return waited[1].revents == 0;
  }
};

bool is_frame_fault(FaultKind kind) {
  return kind == FaultKind::repeat_frame || kind == FaultKind::lose_frame ||
         kind == FaultKind::swap_frames;
}

}  // namespace

std::string to_string(FaultKind kind) {
  constexpr std::array names{"reset",      "truncate",     "flip_bit",   "repeat_bytes",
                             "lose_bytes", "repeat_frame", "lose_frame", "swap_frames"};
  return names.at(static_cast<std::size_t>(kind));
}

struct FaultProxy::State {
  struct Settings {
    std::size_t slices = 0;
    milliseconds delay{0};
    std::uint64_t rate = 0;
    bool black_hole = false;
  };
  struct Proxied {
    std::weak_ptr<Link> link;  // of the pumps: when both have ended, it closes
    std::array<std::jthread, 2> pumps;
    std::shared_ptr<std::atomic<int>> running = std::make_shared<std::atomic<int>>(2);
  };

  sockaddr_in server{};
  unique_fd listening;
  std::jthread acceptor;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  Settings settings;
  std::optional<Fault> fault;
  std::uint64_t passed_since_injection = 0;
  std::uint64_t struck = 0;
  std::list<Proxied> links;
  bool ending = false;

  std::array<std::atomic<std::uint64_t>, 2> bytes{};
  std::atomic<std::uint64_t> connections = 0, ended_connections = 0;

  void accept_all(const std::shared_ptr<State>& self);
  void begin(unique_fd client, const std::shared_ptr<State>& self);
  // With the mutex held.
  void end(Link& link, bool reset) {
    if (reset) link.prepare_reset();
    link.end();
    changed.notify_all();
  }
  template <typename Change>
  void set(const Change& change) {
    const std::lock_guard lock(mutex);
    change(settings);
    changed.notify_all();
  }
};

// One direction of one connection, on a thread of its own.
class FaultProxy::Pump {
 public:
  Pump(std::shared_ptr<State> state, std::shared_ptr<Link> link, Direction direction)
      : state_(std::move(state)), link_(std::move(link)), direction_(direction) {}

  void run() {
    std::vector<std::byte> buffer(buffer_size);
    while (true) {
      if (!held_.empty() && !collecting_ && !more_comes_soon() && !send_held()) return;
      if (!link_->wait(from(), POLLIN)) return;
      const ssize_t got = recv(from(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got < 0) return end_link(true);
      if (got == 0) {
        static_cast<void>(send_held());
        shutdown(to(), SHUT_WR);
        return;
      }
      if (!forward(ByteView(buffer).first(static_cast<std::size_t>(got)))) return;
    }
  }

 private:
  int from() const {
    return direction_ == Direction::to_client ? link_->server.get() : link_->client.get();
  }
  int to() const {
    return direction_ == Direction::to_client ? link_->client.get() : link_->server.get();
  }

  void end_link(bool reset) {
    const std::lock_guard lock(state_->mutex);
    state_->end(*link_, reset);
  }

  bool more_comes_soon() const {
    pollfd waited{from(), POLLIN, 0};
    return poll(&waited, 1, static_cast<int>(overtaking_time.count())) > 0;
  }

  // False if the connection has ended. Frames are followed, so that whole ones can be dealt with.
  bool forward(ByteView bytes) {
    while (!bytes.empty()) {
      if (cursor_.at_start() && !collecting_)
        collecting_ = held_.empty() ? due_frame_fault() : swap_;
      const std::size_t length = cursor_.take(bytes);
      const ByteView part = bytes.first(length);
      bytes = bytes.subspan(length);
      if (!collecting_) {
        if (!pass(part)) return false;
        continue;
      }
      frame_.insert(frame_.end(), part.begin(), part.end());
      if (cursor_.at_start() && !frame_complete()) return false;
    }
    return true;
  }

  bool due_frame_fault() {
    const std::lock_guard lock(state_->mutex);
    if (!state_->fault || !is_frame_fault(state_->fault->kind) ||
        state_->fault->direction != direction_ ||
        state_->passed_since_injection < state_->fault->at)
      return false;
    kind_ = state_->fault->kind;
    swap_ = kind_ == FaultKind::swap_frames;
    if (!swap_) strike();
    return true;
  }

  // With the mutex held.
  void strike() {
    state_->fault.reset();
    ++state_->struck;
  }

  bool frame_complete() {
    collecting_ = false;
    const auto frame = std::exchange(frame_, {});
    if (kind_ == FaultKind::lose_frame) return true;
    if (kind_ == FaultKind::repeat_frame) return send_all(frame) && send_all(frame);
    if (held_.empty()) {
      held_ = frame;
      return true;
    }
    const auto overtaken = std::exchange(held_, {});
    swap_ = false;
    {
      const std::lock_guard lock(state_->mutex);
      if (state_->fault && state_->fault->kind == FaultKind::swap_frames) strike();
    }
    return send_all(frame) && send_all(overtaken);
  }

  bool send_held() {
    swap_ = false;
    const auto held = std::exchange(held_, {});
    return held.empty() || send_all(held);
  }

  // Bytes that may hold the one where the fault strikes.
  bool pass(ByteView bytes) {
    if (lose_ > 0) {
      const std::size_t lost = std::min<std::size_t>(lose_, bytes.size());
      lose_ -= lost;
      bytes = bytes.subspan(lost);
    }
    std::optional<Fault> fault;
    std::size_t place = 0;
    {
      const std::lock_guard lock(state_->mutex);
      if (state_->fault && state_->fault->direction == direction_) {
        const std::uint64_t passed = state_->passed_since_injection;
        if (!is_frame_fault(state_->fault->kind) && passed + bytes.size() > state_->fault->at) {
          place = static_cast<std::size_t>(state_->fault->at - passed);
          fault = state_->fault;
          strike();
        }
        state_->passed_since_injection += bytes.size();
      }
    }
    if (!fault) return send_all(bytes);
    return send_all(bytes.first(place)) && apply(*fault, bytes.subspan(place));
  }

  bool apply(const Fault& fault, ByteView bytes) {
    switch (fault.kind) {
      case FaultKind::reset:
        end_link(true);
        return false;
      case FaultKind::truncate:
        shutdown(to(), SHUT_WR);
        end_link(false);
        return false;
      case FaultKind::flip_bit: {
        std::vector<std::byte> changed(bytes.begin(), bytes.end());
        changed.front() ^= std::byte{1};
        return send_all(changed);
      }
      case FaultKind::repeat_bytes: {
        const std::size_t length = std::min<std::size_t>(fault.length, bytes.size());
        return send_all(bytes.first(length)) && send_all(bytes);
      }
      default:  // lose_bytes
        lose_ = fault.length;
        return pass(bytes);
    }
  }

  bool send_all(ByteView bytes) {
    while (!bytes.empty()) {
      const std::size_t piece = next_piece(bytes.size());
      if (!link_->wait(to(), POLLOUT)) return false;
      const ssize_t sent = send(to(), bytes.data(), piece, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (sent < 0) {
        end_link(true);
        return false;
      }
      state_->bytes[static_cast<std::size_t>(direction_)] += static_cast<std::uint64_t>(sent);
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // How much is sent at once now, after the time that it has to wait.
  std::size_t next_piece(std::size_t size) {
    std::unique_lock lock(state_->mutex);
    const auto ended = [&] { return state_->ending || link_->ended; };
    state_->changed.wait(lock, [&] { return ended() || !state_->settings.black_hole; });
    const State::Settings settings = state_->settings;
    std::chrono::nanoseconds pause = settings.delay;
    if (settings.slices > 0)
      size =
          std::min(size, std::uniform_int_distribution<std::size_t>(1, settings.slices)(random_));
    if (settings.rate > 0)
      pause += std::chrono::nanoseconds(std::uint64_t{size} * 1'000'000'000 / settings.rate);
    if (pause.count() > 0) state_->changed.wait_for(lock, pause, ended);
    return size;
  }

  const std::shared_ptr<State> state_;
  const std::shared_ptr<Link> link_;
  const Direction direction_;
  std::minstd_rand random_{1};
  FrameCursor cursor_;
  FaultKind kind_{};         // of the frame fault that is at work
  bool swap_ = false;        // held_ waits for a frame to overtake it
  bool collecting_ = false;  // the frame under way, in frame_
  Bytes frame_, held_;
  std::uint64_t lose_ = 0;
};

void FaultProxy::State::accept_all(const std::shared_ptr<State>& self) {
  while (true) {
    unique_fd client(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!client) return;  // shut down
    ++connections;
    begin(std::move(client), self);
  }
}

void FaultProxy::State::begin(unique_fd client, const std::shared_ptr<State>& self) {
  auto link = std::make_shared<Link>();
  link->client = std::move(client);
  link->server.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(link->server.get(), generic(server), sizeof server) != 0)
    return link->prepare_reset();
  const int on = 1;
  for (const int fd : {link->client.get(), link->server.get()})
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const std::lock_guard lock(mutex);
  if (ending) return;
  std::erase_if(links, [](const Proxied& proxied) { return *proxied.running == 0; });
  Proxied& proxied = links.emplace_back();
  proxied.link = link;
  for (const Direction direction : {Direction::to_client, Direction::to_server})
    proxied.pumps[static_cast<std::size_t>(direction)] =
        std::jthread([self, link, direction, running = proxied.running] {
          Pump(self, link, direction).run();
          if (--*running == 0) ++self->ended_connections;
        });
}

FaultProxy::FaultProxy() : state_(std::make_shared<State>()) {}

Result<std::unique_ptr<FaultProxy>> FaultProxy::start(const std::string& server) {
  std::unique_ptr<FaultProxy> proxy(new FaultProxy);
  State& state = *proxy->state_;
  ICBD_ASSIGN(state.server, parse_address(server));
  state.listening.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ICBD_ASSIGN(sockaddr_in own, parse_address("127.0.0.1:0"));
  socklen_t size = sizeof own;
  if (bind(state.listening.get(), generic(own), sizeof own) != 0 ||
      listen(state.listening.get(), SOMAXCONN) != 0 ||
      getsockname(state.listening.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0)
    return fail_errno("listen on 127.0.0.1");
  proxy->address_ = fmt::format("127.0.0.1:{}", ntohs(own.sin_port));
  state.acceptor = std::jthread([self = proxy->state_] { self->accept_all(self); });
  return proxy;
}

FaultProxy::~FaultProxy() {
  shutdown(state_->listening.get(), SHUT_RDWR);  // wakes the acceptor
  if (state_->acceptor.joinable()) state_->acceptor.join();
  std::list<State::Proxied> links;
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
    links.swap(state_->links);
    for (const State::Proxied& proxied : links)
      if (const auto link = proxied.link.lock()) state_->end(*link, false);
    state_->changed.notify_all();
  }
}

void FaultProxy::inject(const Fault& fault) {
  const std::lock_guard lock(state_->mutex);
  state_->fault = fault;
  state_->passed_since_injection = 0;
}

std::uint64_t FaultProxy::struck() const {
  const std::lock_guard lock(state_->mutex);
  return state_->struck;
}

void FaultProxy::set_slices(std::size_t most) {
  state_->set([&](auto& settings) { settings.slices = most; });
}
void FaultProxy::set_delay(milliseconds delay) {
  state_->set([&](auto& settings) { settings.delay = delay; });
}
void FaultProxy::set_rate(std::uint64_t bytes_per_second) {
  state_->set([&](auto& settings) { settings.rate = bytes_per_second; });
}
void FaultProxy::set_black_hole(bool on) {
  state_->set([&](auto& settings) { settings.black_hole = on; });
}

void FaultProxy::reset_all() {
  const std::lock_guard lock(state_->mutex);
  for (const State::Proxied& proxied : state_->links)
    if (const auto link = proxied.link.lock()) state_->end(*link, true);
}

std::uint64_t FaultProxy::bytes(Direction direction) const {
  return state_->bytes[static_cast<std::size_t>(direction)];
}
std::uint64_t FaultProxy::connections() const {
  return state_->connections;
}
std::uint64_t FaultProxy::ended_connections() const {
  return state_->ended_connections;
}

}  // namespace icbd::harness
