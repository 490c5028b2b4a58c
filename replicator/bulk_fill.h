// Filling everything that is pending, in order: what clients boot from, then the rest.
//
// Lifecycle: construct, prepare(), perhaps fill_here() and other ways to bring bytes, run() once
// for what is left. A planner (the calling thread) resolves files, fills locally what it can and
// hands batches to a few workers, each of which asks the source, verifies and stores; so that one
// batch is on the wire while another is hashed and a third written. The size of a batch follows the
// rate at which bytes come. What a version holds twice is fetched once, and shared when it is here.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <queue>
#include <stop_token>
#include <vector>

#include "icbd/base/clock.h"
#include "icbd/replicator/filler.h"

#include "repeated_chunks.h"
#include "under_way.h"
#include "write_back.h"

namespace icbd::replicator {

class BulkFill {
 public:
  struct Calls {
    std::function<Status()> remember;  // that it is to be filled: before anything is fetched
    // Now and then, on a thread of its own: while it waits for the disk, the fill goes on.
    std::function<Status()> checkpoint;
    // Before anything is fetched, with all that is to be stored, and then now and then with what is
    // next; an error ends the fill.
    std::function<Status(std::uint64_t)> check_room;
    // So many bytes are about to be fetched: how long to pause before.
    std::function<Clock::Duration(std::uint64_t)> pace;
  };
  // `pending_bytes` is kept at what is still to come, `under_way` at what of it is asked for.
  BulkFill(Content& content, Filler& filler, const Clock& clock,
           std::atomic<std::uint64_t>& pending_bytes, UnderWay& under_way, Calls calls);

  // Compares everything with the manifest, so that it is known what is to come; then asks whether
  // there is room for it.
  Status prepare(std::stop_token stop);
  // Only what can be had without the source.
  Status fill_here(std::stop_token stop);
  // Now and then, by what was stored lately: a checkpoint is begun, and whether there is room. An
  // error of the checkpoint before ends the fill.
  Status upkeep();
  // Done, or the first error of any worker (then everything that was claimed is pending again);
  // `cancelled` if stopped.
  Status run(std::stop_token stop);

 private:
  using Batch = std::vector<ChunkTask>;

  Status resolve_all(std::stop_token stop);
  Result<std::uint64_t> bytes_to_store(const std::stop_token& stop);
  Result<std::uint64_t> bytes_to_store(FileIndex file, std::uint32_t first, std::uint32_t count);
  Status plan(std::stop_token stop);
  Status plan_files(std::stop_token stop, const std::function<bool(const manifest::Entry&)>& which);
  Status plan_run(FileIndex file, ChunkIndex first, std::uint32_t count, OpenForWriting& writer,
                  std::stop_token stop);
  Status fill_last_of_batch(OpenForWriting& writer, const std::stop_token& stop);
  Status fill_left_to_readers(std::stop_token stop);
  Status count_last_of_batch(const std::stop_token& stop);
  bool is_asked_for(const ChunkTask& task);
  Status fill_repeated(const std::stop_token& stop);
  Status push_batch(const std::stop_token& stop);
  void pace(std::uint64_t bytes, const std::stop_token& stop);
  std::int64_t bytes_of_bulk() const;
  void begin_rate();
  void set_batch_goal();
  void work();
  Status wait_until_drained();
  Status maybe_checkpoint();
  Status end_checkpoint();
  Status maybe_check_room();
  void release(const Batch& batch);
  void count_down(const ChunkTask& task);

  Content& content_;
  Filler& filler_;
  const Clock& clock_;
  std::atomic<std::uint64_t>& pending_bytes_;
  UnderWay& under_way_;
  Calls calls_;
  Clock::TimePoint last_checkpoint_;
  std::uint64_t stored_at_checkpoint_ = 0;
  std::uint64_t stored_at_room_check_ = 0;
  std::uint64_t batch_goal_;
  Clock::TimePoint rate_begin_;
  std::int64_t fetched_at_rate_ = 0;
  Batch batch_;  // being gathered
  std::uint64_t batch_size_ = 0;
  std::uint64_t batch_missing_ = 0;  // of its chunks, what has to be fetched
  bool only_here_ = false;
  std::vector<ChunkTask> left_to_readers_;  // were being fetched for one when it was their turn
  WriteBack write_back_;
  RepeatedChunks asked_for_;
  Batch repeated_;  // claimed, and to be filled from what has been asked for

  std::mutex mutex_;  // guards what is below
  std::condition_variable_any changed_;
  std::queue<const UnderWay::Batch*> batches_;  // that no worker has taken
  std::size_t in_work_ = 0;
  bool closed_ = false;
  std::optional<Error> failure_;

  // Under way, or ended and not looked at. Last: its end is waited for.
  std::future<Status> checkpoint_;
};

}  // namespace icbd::replicator
