// Reads stretches of files past the page cache, many at a time.
//
// Purpose: one thread with one ring reads for all that ask, so that the disk always has several
// reads to choose from, whoever waits for what. Reading past the page cache costs a fraction of the
// processor time, and leaves in it what the machine's other work has there.
// Lifecycle: start(); read() from any thread; the destructor fails what has not begun (`cancelled`)
// and waits for what has. What was read lives as long as somebody holds it.
// Guarantees: thread-safe. A stretch is delivered whole or not at all. Memory: for each stretch
// that is being read or held by somebody, the next of StretchBuffers' sizes that it fits into:
// callers bound how much they hold. The first of the longest are memory that the ring was told of.
#pragma once

#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "icbd/base/bytes.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/uring/queue.h"

#include "registered_buffers.h"
#include "stretch_buffers.h"

namespace icbd::source {

class DiskReader {
 public:
  struct Stretch {
    std::shared_ptr<const void> owner;
    ByteView bytes;
  };

  static Result<std::unique_ptr<DiskReader>> start(std::unique_ptr<uring::Queue> queue);
  ~DiskReader();
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;

  // `file` was opened with O_DIRECT, or not: then this is an ordinary read in the background. The
  // range is at most stretch_max long. `corrupt` if the file ends before the range does.
  std::future<Result<Stretch>> read(std::shared_ptr<const unique_fd> file, ByteRange range);
  // What the reading is done with, for the log: "io_uring", or what there is instead, and why.
  const std::string& description() const { return description_; }

 private:
  // One stretch on its way. A read may come out short, so it may take several.
  struct Job {
    std::shared_ptr<const unique_fd> file;
    ByteRange range;
    ByteRange aligned;  // what is read for it: whole sectors
    BufferPool::Buffer buffer = {};
    std::optional<std::uint16_t> registered = {};  // its number among those
    std::uint64_t done = 0;                        // bytes of `aligned`, whole sectors
    std::uint64_t reached = 0;                     // with what came of the next sector
    std::promise<Result<Stretch>> promise = {};
  };

  explicit DiskReader(std::unique_ptr<uring::Queue> queue);
  void run(const std::stop_token& stop);
  void take_buffer(Job& job);
  void begin_what_waits();
  void continue_job(uring::Token token);
  void completed(const uring::Completion& completion);
  void fail_all(const Error& error);
  static void deliver(Job& job);

  const std::string description_;
  StretchBuffers buffers_;
  std::optional<RegisteredBuffers> registered_;  // none if the queue takes none
  std::mutex mutex_;
  std::deque<Job> waiting_;  // guarded by mutex_
  bool closed_ = false;      // guarded by mutex_
  // Of the reading thread; others wake it with mutex_ held, and not once it is closed.
  std::unique_ptr<uring::Queue> queue_;
  std::unordered_map<uring::Token, Job> under_way_;
  uring::Token next_token_ = 0;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace icbd::source
