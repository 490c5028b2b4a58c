// Responses that are streamed: a connection, a thread, and a function that writes.
//
// Purpose: what writes a body may block for as long as the peer does, which the server's own
// threads must not. So a connection leaves the server with its request answered by a thread of its
// own, and ends with it.
// Lifecycle: reserve(), then start() once for each reservation. stop(), and the destructor, cuts
// off all of them and waits for their writers.
// Guarantees: at most so many at once. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"
#include "icbd/rest/http.h"

namespace icbd::rest {

struct StreamJob {
  unique_fd socket;
  BodyWriter writer;
  bool chunked = true;  // HTTP/1.1; without, only a reset tells the peer that something failed
  // The whole response for an error before the first piece.
  std::function<std::string(const Error&)> refuse;
  // Told of every error. Must not throw.
  std::function<void(const Error&)> failed;
};

class StreamThreads {
 public:
  StreamThreads(std::size_t most, std::chrono::milliseconds stall) : most_(most), stall_(stall) {}
  ~StreamThreads() { stop(); }
  StreamThreads(const StreamThreads&) = delete;
  StreamThreads& operator=(const StreamThreads&) = delete;

  // False if there are as many as there may be.
  bool reserve();
  void start(StreamJob job);
  // Nothing can be reserved afterwards.
  void stop();

 private:
  struct Stream {
    StreamJob job;
    bool ended = false;
    std::thread thread;
  };
  // Those whose threads have ended, to be joined without the lock.
  std::list<Stream> take_ended();
  void run(Stream& stream);

  const std::size_t most_;
  const std::chrono::milliseconds stall_;
  std::mutex mutex_;  // guards what is below, and the sockets of streams that have not ended
  std::list<Stream> streams_;
  std::size_t reserved_ = 0;
  bool stopped_ = false;
};

}  // namespace icbd::rest
