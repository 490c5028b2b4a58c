// One lane to the master: makes its connection when it is needed, and a new one when it was lost.
//
// Lifecycle: construct, ask() from any thread, stop(). Thread-safe. While one caller connects, the
// others wait for the outcome and share it, also a failure, so that an unreachable master costs
// each of them one timeout and not one after the other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "icbd/base/log.h"
#include "icbd/wire/remote_source.h"

#include "connection.h"

namespace icbd::wire {

class Channel {
 public:
  // `connector`, `options` and `reachable` are shared by the channels of one RemoteSource.
  struct Environment {
    Connector connector;
    RemoteSourceOptions options;
    Logger logger;
    TrafficCounters traffic;
    std::atomic<bool>& reachable;
  };

  Channel(ChannelKind kind, const Environment& environment);

  Result<Reply> ask(FrameType type, ByteView payload);
  void stop();

 private:
  Result<std::shared_ptr<Connection>> usable_connection();
  Result<std::shared_ptr<Connection>> connect();
  Status adopt(const std::shared_ptr<Connection>& connection);

  const ChannelKind kind_;
  const Environment& environment_;
  std::mutex mutex_;
  std::condition_variable attempt_ended_;
  // Guarded by mutex_:
  std::shared_ptr<Connection> connection_;
  bool connecting_ = false;
  bool stopped_ = false;
  std::uint64_t failed_attempts_ = 0;
  std::optional<Error> last_failure_;
};

}  // namespace icbd::wire
