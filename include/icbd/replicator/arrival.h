// One arriving version: from its shape to its landing.
//
// Lifecycle: make() with the content that fetch_shape() or resume_content() gave; readers may read
// at once. commit_shape() makes the shape durable. fill() fetches everything that is pending, in
// order, with checkpoints; land() checks, finishes and commits. stop() ends it at any point:
// waiting readers fail with `cancelled`, and a last checkpoint lets the next start go on from here.
// Guarantees: thread-safe, but fill() and land() are called by one thread at a time (the
// replicator's). A read is answered as soon as its chunks are verified, whatever bulk is doing.
//
// Priorities: a reader that waits for a chunk which bulk has asked for lets bulk bring it, if that
// is not slower than to ask itself on the demand connection; it asks if it has not come in time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <unordered_set>

#include "icbd/base/clock.h"
#include "icbd/base/executor.h"
#include "icbd/base/log.h"
#include "icbd/base/rate_limit.h"
#include "icbd/replicator/filler.h"
#include "icbd/replicator/gated_source.h"
#include "icbd/replicator/space_gate.h"
#include "icbd/replicator/transfer_choice.h"
#include "icbd/repository/repository.h"

namespace icbd::replicator {

// What a read of a version that is not here leads to.
enum class FillPolicy : std::uint8_t {
  on_read,      // the whole version is fetched once enough of it was read
  demand_only,  // what is read is fetched, no more
  never,        // nothing is fetched for readers: a read of what is not here fails
};

// What can be changed while arrivals are under way; looked at whenever it is needed.
struct LiveOptions {
  std::atomic<std::chrono::milliseconds> fetch_timeout;
  std::atomic<std::chrono::milliseconds> poll_interval;
  std::atomic<std::chrono::milliseconds> offline_after;
  std::atomic<FillPolicy> fill;
  std::atomic<std::uint64_t> fill_threshold;
  std::atomic<TransferMode> transfer;
};

// What arrivals share; owned by the replicator and outliving them.
struct ArrivalContext {
  repository::Repository& repository;
  GatedSource& source;
  const SpaceGate& space;
  RateLimit& bandwidth;  // of what is fetched in the background
  const Clock& clock;
  Logger logger;
  Executor& demand;  // runs fetches that readers wait for
  Executor& timers;  // runs short tasks at their time
  const LiveOptions& live;
  TransferSpeeds& speeds;
  // How the bytes of an image's versions are to come.
  std::function<TransferMode(const std::string& image)> transfer_mode;
  // Readers have brought everything: the version can land without a fill.
  std::function<void(const catalog::Version&)> on_all_here;
};

// What is happening to an arrival; the words of status.
enum class ArrivalPhase : std::uint8_t {
  on_demand,  // only what readers ask for is fetched
  queued,     // to be filled when it is its turn
  filling,
  landing,   // everything is here and is being checked
  retrying,  // the source is away, or something failed: tried again by itself
  paused,    // no room: goes on when there is
};
std::string_view to_string(ArrivalPhase phase);

struct ArrivalProgress {
  ArrivalPhase phase = ArrivalPhase::on_demand;
  std::uint64_t bytes_total = 0;    // of all chunks
  std::uint64_t bytes_done = 0;     // of chunks that are here
  std::uint64_t bytes_pending = 0;  // known to be still to come; 0 before the first fill
  std::uint64_t bytes_fetched = 0;  // received from the source
  std::uint64_t bytes_shared = 0;   // taken from versions that are here
  std::uint64_t rate_bytes_per_second = 0;
  std::uint64_t waiting_readers = 0;
  bool filling = false;
  Transfer transfer = Transfer::extents;  // how its bytes come in the background
  std::string transfer_why;               // in words; empty before the first fill
  std::string failure;                    // why it does not go on; empty if it does
};

struct PendingMap;
class BulkFill;
class LandingCheck;
class SharedInodes;
class UnderWay;

class Arrival : public std::enable_shared_from_this<Arrival> {
 public:
  static std::shared_ptr<Arrival> make(ArrivalContext context, std::shared_ptr<Content> content,
                                       bool wanted = false);
  ~Arrival();

  const catalog::Version& version() const { return content_->version(); }
  Content& content() { return *content_; }

  bool is_local(FileIndex file, ByteRange range) const {
    return content_->chunks().is_done(file, range);
  }
  // Calls back with the bytes of the range, clipped at the file's end; timed_out after
  // fetch_timeout, unavailable at once while the source is known to be away.
  void read(FileIndex file, ByteRange range, ReadDone done);
  // The first byte at or after `offset` whose chunk is still to come; the file's size if none is.
  std::uint64_t next_missing(FileIndex file, std::uint64_t offset) const;
  // Somebody has read so much more of it; returns how much was read before.
  std::uint64_t count_read(std::uint64_t bytes) { return bytes_read_.fetch_add(bytes); }

  // It is to be filled as a whole. Remembered across restarts from the next checkpoint on; fill()
  // begins with one.
  void set_wanted();
  bool is_wanted() const { return wanted_; }

  // Syncs the staging subvolume, writes the pending map, tells the catalog.
  Status commit_shape();
  // Fills everything. `unavailable` or `timed_out` if the source went away, `no_space` if there is
  // not enough room (then before anything is fetched, where that can be told): call it again later.
  Status fill(std::stop_token stop, const std::vector<std::shared_ptr<const DigestIndex>>& indexes);
  // Compares every chunk and every inode with the manifest and commits the version. Chunks that are
  // not what the manifest says are pending again: false, and fill() has work to do.
  Result<bool> land(std::stop_token stop);
  // Makes durable what is done, so that a restart goes on from here.
  Status checkpoint();
  void stop();
  // It will not go on: when this returns, nothing writes to it and its shape will not be committed.
  void abandon();
  // The source is known to be away: nobody waits for it any longer.
  void fail_waiting(const Error& why) { readers_.fail_all(why); }

  ArrivalProgress progress() const;
  // Something went wrong that does not end the fill.
  void note_problem(const Error& error);
  // Why the fill does not go on for now. True if it is the first such failure, worth a line in the
  // log; the same again and again is not.
  bool set_failure(const Error& error);

 private:
  class DemandGuard;
  class Asked;
  Arrival(ArrivalContext context, std::shared_ptr<Content> content, bool wanted);
  void demand(std::vector<ChunkTask> chunks, bool insist);
  void run_demand(std::vector<ChunkTask>& chunks, bool insist);
  void save_soon();
  Status remember_wanted();
  std::filesystem::path map_path() const;
  PendingMap pending_map() const;
  Status write_pending_map();
  Status read_here(ReadJob& job, ChunkIndex chunk);
  void drain_demand();
  void demand_later(std::vector<ChunkTask> chunks, std::chrono::milliseconds delay);
  void drop_unwanted(std::vector<ChunkTask>& chunks);
  void leave_to_others(std::vector<ChunkTask>& chunks);
  Status fetch_demanded(std::vector<ChunkTask>& chunks, bool insist);
  bool follows_bulk(const ChunkTask& task);
  std::optional<std::chrono::milliseconds> patience_with(const ChunkTask& task, std::size_t before,
                                                         bool follows) const;
  Status ask_for(std::span<const ChunkTask> chunks, OpenForWriting& writer);
  Result<bool> fill_from_here(const ChunkTask& task, OpenForWriting& writer);
  void fail_readers(const std::vector<ChunkTask>& chunks, const Error& error);
  SharedInodes look_at_shared_inodes() const;
  Status sync_and_compare(LandingCheck& check, std::stop_token stop);
  Result<bool> check_chunks(LandingCheck& check, const SharedInodes& shared, std::stop_token stop);
  Status finish_inodes(const SharedInodes& shared, const std::stop_token& stop);
  Status finish_inode_of(FileIndex file, const SharedInodes& shared);
  void set_phase(ArrivalPhase phase);
  TransferFacts transfer_facts() const;
  TransferDecision decide_transfer(TransferFacts& facts);
  Status take_stream(BulkFill& bulk, std::stop_token stop);

  ArrivalContext context_;
  std::shared_ptr<Content> content_;
  ReadQueue readers_;
  Filler filler_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> wanted_;
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::atomic<bool> told_all_here_ = false;
  std::atomic<bool> save_due_ = false;
  std::unique_ptr<UnderWay> under_way_;
  std::mutex commit_mutex_;  // commit_shape and checkpoint, one at a time; taken before mutex_
  bool shape_committed_ = false;
  bool abandoned_ = false;
  // Of Filler::writes(), what is on disk. Nothing was written while staging is as it was synced.
  std::optional<std::uint64_t> synced_writes_;
  // What the pending map on disk was written with.
  struct Mapped {
    std::uint64_t writes = 0;
    bool wanted = false;
    bool operator==(const Mapped&) const = default;
  };
  std::optional<Mapped> mapped_;
  std::atomic<std::uint64_t> pending_bytes_ = 0;
  mutable std::mutex mutex_;  // guards what is below
  std::condition_variable demand_idle_;
  std::size_t active_demands_ = 0;
  std::unordered_set<ChunkNumber> asked_for_readers_;
  bool demand_closed_ = false;
  ArrivalPhase phase_;
  TransferDecision transfer_;
  std::string no_stream_;  // why it cannot be had as a stream, if that was found out
  std::string failure_;
  std::optional<ErrorCode> last_failure_;
  Clock::TimePoint fill_started_;
  std::uint64_t fetched_before_fill_ = 0;
};

}  // namespace icbd::replicator
