#include "channel.h"

namespace icbd::wire {
namespace {

Error stopped_error() {
  return Error(ErrorCode::cancelled, "the connection to the master is being closed");
}

std::vector<codec::Algorithm> unpackable() {
  using enum codec::Algorithm;
  return {lz4, snappy, zlib, zstd};
}

}  // namespace

Channel::Channel(ChannelKind kind, const Environment& environment)
    : kind_(kind), environment_(environment) {}

Result<Reply> Channel::ask(FrameType type, ByteView payload) {
  ICBD_ASSIGN(const auto connection, usable_connection());
  return connection->ask(type, payload);
}

void Channel::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  if (connection_) connection_->close(stopped_error());
  attempt_ended_.notify_all();
}

Result<std::shared_ptr<Connection>> Channel::usable_connection() {
  std::unique_lock lock(mutex_);
  const std::uint64_t failures_before = failed_attempts_;
  attempt_ended_.wait(lock, [&] { return !connecting_ || stopped_; });
  if (stopped_) return std::unexpected(stopped_error());
  if (failed_attempts_ != failures_before) return std::unexpected(*last_failure_);
  if (connection_ && connection_->usable()) return connection_;

  connecting_ = true;
  lock.unlock();
  Result<std::shared_ptr<Connection>> made = connect();
  lock.lock();
  connecting_ = false;
  attempt_ended_.notify_all();
  if (stopped_) return std::unexpected(stopped_error());
  if (!made) {
    ++failed_attempts_;
    last_failure_ = made.error();
  }
  return made;
}

Result<std::shared_ptr<Connection>> Channel::connect() {
  Result<unique_fd> socket = environment_.connector();
  if (!socket) {
    environment_.reachable.store(false, std::memory_order_relaxed);
    return std::unexpected(std::move(socket).error());
  }
  auto connection = Connection::make(
      std::move(*socket), environment_.traffic,
      {.stall_timeout = environment_.options.stall_timeout, .reachable = environment_.reachable});
  // Known before it has answered, so that stop() ends the waiting for the answer too.
  ICBD_TRY(adopt(connection));
  ICBD_ASSIGN(const Hello peer, connection->greet({.protocol = protocol_version,
                                                   .role = NodeRole::cache,
                                                   .channel = kind_,
                                                   .node_name = environment_.options.node_name,
                                                   .packing = environment_.options.packing,
                                                   .unpacks = unpackable()}));
  environment_.logger->info("connected to the master {} for {}", peer.node_name, to_string(kind_));
  return connection;
}

Status Channel::adopt(const std::shared_ptr<Connection>& connection) {
  std::shared_ptr<Connection> previous;  // ends after the lock: its reader thread is joined
  const std::lock_guard lock(mutex_);
  if (stopped_) return std::unexpected(stopped_error());
  previous = std::exchange(connection_, connection);
  return {};
}

}  // namespace icbd::wire
