// One arriving version: from its shape to its landing.
//
// Lifecycle: make() with the content that fetch_shape() or resume_content() gave; readers may read
// at once. commit_shape() makes the shape durable. fill() fetches everything that is pending, in
// order, with checkpoints; land() finishes and commits. stop() ends it at any point: waiting
// readers fail with `cancelled`, and a last checkpoint lets the next start go on from here.
// Guarantees: thread-safe, but fill() and land() are called by one thread at a time (the
// replicator's). A read is answered as soon as its chunks are verified, whatever bulk is doing.
//
// Priorities: a reader that waits for a chunk which bulk has asked for lets bulk bring it, but
// asks itself on the demand connection if it has not come within a moment.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "icbd/base/clock.h"
#include "icbd/base/executor.h"
#include "icbd/base/log.h"
#include "icbd/replicator/filler.h"
#include "icbd/repository/repository.h"

namespace icbd::replicator {

// What arrivals share; owned by the replicator and outliving them.
struct ArrivalContext {
  repository::Repository& repository;
  source::Source& source;
  const Clock& clock;
  Logger logger;
  Executor& demand;  // runs fetches that readers wait for
  Executor& timers;  // runs short tasks at their time
  std::chrono::milliseconds fetch_timeout;
};

struct ArrivalProgress {
  std::uint64_t bytes_total = 0;    // of all chunks
  std::uint64_t bytes_done = 0;     // of chunks that are here
  std::uint64_t bytes_pending = 0;  // known to be still to come; 0 before the first fill
  std::uint64_t bytes_fetched = 0;  // received from the source
  std::uint64_t bytes_shared = 0;   // taken from versions that are here
  std::uint64_t rate_bytes_per_second = 0;
  std::uint64_t waiting_readers = 0;
  bool filling = false;
  std::string failure;  // why it does not go on; empty if it does
};

class Arrival : public std::enable_shared_from_this<Arrival> {
 public:
  static std::shared_ptr<Arrival> make(ArrivalContext context, std::shared_ptr<Content> content);
  ~Arrival();

  const catalog::Version& version() const { return content_->version(); }
  Content& content() { return *content_; }

  bool is_local(FileIndex file, ByteRange range) const {
    return content_->chunks().is_done(file, range);
  }
  // Calls back with the bytes of the range, clipped at the file's end; timed_out after
  // fetch_timeout.
  void read(FileIndex file, ByteRange range, ReadDone done);
  // The first byte at or after `offset` whose chunk is still to come; the file's size if none is.
  std::uint64_t next_missing(FileIndex file, std::uint64_t offset) const;

  // Syncs the staging subvolume, writes the pending map, tells the catalog.
  Status commit_shape();
  // Fills everything; `unavailable` or `timed_out` if the source went away (call again later).
  Status fill(std::stop_token stop, const std::vector<std::shared_ptr<const DigestIndex>>& indexes);
  // Finishes every inode, compares it with the manifest, and commits the version.
  Status land();
  // Makes durable what is done, so that a restart goes on from here.
  Status checkpoint();
  void stop();

  ArrivalProgress progress() const;
  void set_failure(std::string why);

 private:
  class DemandGuard;
  Arrival(ArrivalContext context, std::shared_ptr<Content> content);
  void demand(std::vector<ChunkTask> chunks, bool insist, Clock::TimePoint deadline);
  Status write_pending_map();
  Status read_here(ReadJob& job, ChunkIndex chunk);
  void drain_demand();
  Status fetch_demanded(std::vector<ChunkTask>& chunks, bool insist);

  ArrivalContext context_;
  std::shared_ptr<Content> content_;
  ReadQueue readers_;
  Filler filler_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> filling_ = false;
  std::mutex commit_mutex_;  // commit_shape and checkpoint, one at a time; taken before mutex_
  bool shape_committed_ = false;
  std::atomic<std::uint64_t> pending_bytes_ = 0;
  mutable std::mutex mutex_;  // guards what is below
  std::condition_variable demand_idle_;
  std::size_t active_demands_ = 0;
  bool demand_closed_ = false;
  std::string failure_;
  Clock::TimePoint fill_started_{};
  std::uint64_t fetched_before_fill_ = 0;
};

}  // namespace icbd::replicator
