#include "connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "icbd/wire/remote_source.h"

namespace icbd::wire {

using std::chrono::steady_clock;

struct Connection::Pending {
  std::condition_variable arrived;
  // Guarded by the connection's mutex:
  std::deque<IncomingFrame> frames;
  std::size_t queued_bytes = 0;
  steady_clock::time_point asked = steady_clock::now();
  bool abandoned = false;
};

std::shared_ptr<Connection> Connection::make(unique_fd socket, TrafficCounters traffic,
                                             Options options) {
  return std::shared_ptr<Connection>(new Connection(std::move(socket), traffic, options));
}

Connection::Connection(unique_fd socket, TrafficCounters traffic, Options options)
    : options_(options), socket_(std::move(socket), traffic) {
  reader_ = std::thread([this] { read_replies(); });
}

Connection::~Connection() {
  close(Error(ErrorCode::cancelled, "the connection is not needed any more"));
  reader_.join();
}

Result<Hello> Connection::greet(const Hello& hello) {
  socket_.set_send_timeout(options_.stall_timeout);
  if (hello.channel != ChannelKind::bulk) socket_.retransmit_early();
  ICBD_ASSIGN(Reply reply, ask(FrameType::hello, encode(hello)));
  ICBD_ASSIGN(const IncomingFrame frame, reply.next());
  if (frame.header.type != FrameType::hello_reply)
    return reply.refuse(Error(ErrorCode::corrupt, "the peer did not answer hello with hello"));
  auto answer = decode_hello(frame.payload);
  if (!answer) return reply.refuse(std::move(answer).error());
  if (answer->protocol != protocol_version)
    return reply.refuse(Error(
        ErrorCode::unsupported,
        fmt::format("the peer speaks version {} of the data protocol, this node version {}: run "
                    "the same release of icbd on both",
                    answer->protocol, protocol_version)));
  return answer;
}

Result<Reply> Connection::ask(FrameType type, ByteView payload) {
  auto pending = std::make_shared<Pending>();
  std::uint32_t id;
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return std::unexpected(*failure_);
    do id = next_request_id_++;
    while (pending_.contains(id));
    pending_.emplace(id, pending);
  }
  Reply reply(shared_from_this(), std::move(pending));
  if (Status sent = socket_.send({.type = type, .request_id = id}, payload); !sent) {
    close(sent.error());
    const std::lock_guard lock(mutex_);
    return std::unexpected(failure_.value_or(sent.error()));
  }
  return reply;
}

void Connection::close(Error reason) {
  const std::lock_guard lock(mutex_);
  close_locked(std::move(reason));
}

void Connection::close_locked(Error reason) {
  if (failure_) return;
  // Bytes that were damaged on the way say nothing about the peer's content: whoever waits for an
  // answer may ask again on a new connection.
  if (reason.code() == ErrorCode::corrupt)
    reason = Error(ErrorCode::unavailable, "the connection was given up: " + reason.message());
  failure_ = std::move(reason);
  options_.reachable.store(false, std::memory_order_relaxed);
  socket_.shut_down();
  for (const auto& [id, pending] : pending_) pending->arrived.notify_all();
  room_.notify_all();
}

bool Connection::usable() const {
  const std::lock_guard lock(mutex_);
  return !failure_;
}

void Connection::read_replies() {
  while (true) {
    Result<IncomingFrame> frame = socket_.receive();
    if (!frame) return close(std::move(frame).error());
    if (!hand_over(std::move(*frame))) return;
  }
}

// False if the connection is closed.
bool Connection::hand_over(IncomingFrame frame) {
  std::unique_lock lock(mutex_);
  const auto found = pending_.find(frame.header.request_id);
  if (found == pending_.end()) {
    close_locked(Error(ErrorCode::corrupt, fmt::format("the peer answered request {}, which "
                                                       "nobody made",
                                                       frame.header.request_id)));
    return false;
  }
  const std::shared_ptr<Pending> pending = found->second;
  const std::size_t size = frame.payload.size();
  reader_waits_ = true;
  room_.wait(lock, [&] {
    return failure_ || pending->abandoned || pending->frames.empty() ||
           queued_bytes_ + size <= reply_queue_bytes;
  });
  reader_waits_ = false;
  reader_resumed_ = steady_clock::now();
  if (failure_) return false;
  options_.reachable.store(true, std::memory_order_relaxed);
  if (ends_reply(frame.header)) pending_.erase(frame.header.request_id);
  if (pending->abandoned) return true;
  pending->frames.push_back(std::move(frame));
  pending->queued_bytes += size;
  queued_bytes_ += size;
  pending->arrived.notify_one();
  return true;
}

Result<IncomingFrame> Connection::next(Pending& pending) {
  std::unique_lock lock(mutex_);
  while (pending.frames.empty()) {
    if (failure_) return std::unexpected(*failure_);
    const auto now = steady_clock::now();
    const auto silent_since =
        reader_waits_ ? now : std::max({socket_.last_progress(), reader_resumed_, pending.asked});
    const auto deadline = silent_since + options_.stall_timeout;
    if (now >= deadline) {
      close_locked(Error(ErrorCode::timed_out,
                         fmt::format("the peer was silent for {} ms while an answer was awaited",
                                     options_.stall_timeout.count())));
      continue;
    }
    pending.arrived.wait_until(lock, deadline);
  }
  IncomingFrame frame = std::move(pending.frames.front());
  pending.frames.pop_front();
  pending.queued_bytes -= frame.payload.size();
  queued_bytes_ -= frame.payload.size();
  room_.notify_one();
  return frame;
}

void Connection::abandon(Pending& pending) {
  const std::lock_guard lock(mutex_);
  pending.abandoned = true;
  pending.frames.clear();
  queued_bytes_ -= std::exchange(pending.queued_bytes, 0);
  room_.notify_one();
}

Reply::Reply(std::shared_ptr<Connection> connection, std::shared_ptr<Connection::Pending> pending)
    : connection_(std::move(connection)), pending_(std::move(pending)) {}

Reply::~Reply() {
  if (pending_) connection_->abandon(*pending_);
}

Result<IncomingFrame> Reply::next() {
  ICBD_ASSIGN(IncomingFrame packed, connection_->next(*pending_));
  auto unpacked = unpacker_.unpack(std::move(packed), connection_->socket_.buffers());
  if (!unpacked) return refuse(std::move(unpacked).error());
  IncomingFrame frame = std::move(*unpacked);
  if (frame.header.type == FrameType::error) return std::unexpected(decode_error(frame.payload));
  return frame;
}

std::unexpected<Error> Reply::refuse(Error reason) {
  // For the others that wait it is a lost connection: it was not their answer.
  connection_->close(
      Error(ErrorCode::unavailable, "the connection was given up: " + reason.message()));
  return std::unexpected(std::move(reason));
}

}  // namespace icbd::wire
