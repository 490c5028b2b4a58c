// The asking side of one connection: requests go out, replies come back to whoever asked.
//
// Lifecycle: make() starts the reader thread, greet() exchanges hello; ask() any number of times
// from any thread; the first failure, or close(), ends the connection for good, and the owner makes
// a new one. Kept alive by its Replies.
// Threads: the reader thread receives frames and puts each into the queue of the request it
// answers; it runs no code of the caller. The queues hold reply_queue_bytes together: beyond that
// the reader waits for a caller, because the protocol has no other way to slow down one reply. The
// first frame of each is always taken, so that callers never wait for each other. Whoever waits for
// a reply watches for the stall, so that an idle connection costs nothing. Lock order: one mutex;
// it is never held during a system call on the socket but shutdown(2).
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "frame_socket.h"
#include "messages.h"
#include "unpacker.h"

namespace icbd::wire {

class Reply;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Options {
    std::chrono::milliseconds stall_timeout;
    // True while frames arrive, false from a failure on; shared with other connections.
    std::atomic<bool>& reachable;
  };

  // Nothing is sent yet: greet() first.
  static std::shared_ptr<Connection> make(unique_fd socket, TrafficCounters traffic,
                                          Options options);
  ~Connection();

  // Exchanges hello; returns the peer's. `unsupported` if it speaks another protocol version.
  Result<Hello> greet(const Hello& hello);
  Result<Reply> ask(FrameType type, ByteView payload);
  // Every call under way fails with `reason`; the first close decides.
  void close(Error reason);
  bool usable() const;

 private:
  friend class Reply;
  struct Pending;

  Connection(unique_fd socket, TrafficCounters traffic, Options options);
  void read_replies();
  bool hand_over(IncomingFrame frame);
  Result<IncomingFrame> next(Pending& pending);
  void abandon(Pending& pending);
  void close_locked(Error reason);

  Options options_;
  FrameSocket socket_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::optional<Error> failure_;
  std::map<std::uint32_t, std::shared_ptr<Pending>> pending_;  // by request id
  std::uint32_t next_request_id_ = 0;
  std::size_t queued_bytes_ = 0;  // of all of them
  bool reader_waits_ = false;     // for room in a queue: silence is then our own doing
  std::chrono::steady_clock::time_point reader_resumed_;
  std::condition_variable room_;
  std::thread reader_;
};

// The reply to one request, frame by frame. Destroyed before its end, the rest is dropped.
class Reply {
 public:
  Reply(std::shared_ptr<Connection> connection, std::shared_ptr<Connection::Pending> pending);
  Reply(Reply&&) = default;
  Reply& operator=(Reply&&) = delete;
  ~Reply();

  // Blocks for the next frame, and unpacks it. An error frame, a lost connection and a stall are
  // errors. Asking on after the last frame is a bug.
  Result<IncomingFrame> next();
  // What the peer sent is not a valid reply: closes the connection and returns the error.
  std::unexpected<Error> refuse(Error reason);

 private:
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Connection::Pending> pending_;
  Unpacker unpacker_;  // on the thread of whoever asked: several replies are unpacked at a time
};

}  // namespace icbd::wire
