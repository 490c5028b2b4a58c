// Early write-back: the kernel begins to write what bulk has stored, in large pieces, instead of
// all at once in the sync that ends an arrival.
//
// Purpose: to begin a write may wait for a disk that has enough to do. A thread of its own does
// that, so that meanwhile others go on receiving, hashing and storing in memory; up to a limit.
// Guarantees: thread-safe. Promises nothing of durability: that is the sync's work, and a failure
// shows there. What is still queued when this is destroyed is left to the kernel.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "icbd/base/executor.h"
#include "icbd/base/types.h"

namespace icbd::replicator {

class WriteBack {
 public:
  static constexpr std::uint64_t piece_bytes = 8 * 1024 * 1024;
  static constexpr std::uint64_t most_waiting_bytes = 8 * piece_bytes;

  // Has the kernel begin; may take as long as the disk does. Called by one thread at a time.
  using Begin = std::function<void(FileIndex, ByteRange)>;
  explicit WriteBack(Begin begin) : begin_(std::move(begin)) {}
  WriteBack(const WriteBack&) = delete;
  WriteBack& operator=(const WriteBack&) = delete;

  // Of files that are written one after the other; of one that ends before it has a piece, nothing
  // is begun. Waits while more than most_waiting_bytes are queued.
  void written(FileIndex file, ByteRange range);

 private:
  struct Piece {
    FileIndex file;
    ByteRange range;          // from the first to the last byte that was written
    std::uint64_t bytes = 0;  // that were: changes may be far apart
  };
  void gather(FileIndex file, ByteRange range);
  bool hand_over(const Piece& piece);
  void begin(const Piece& piece);

  const Begin begin_;
  std::mutex mutex_;  // guards what is below
  std::condition_variable changed_;
  Piece gathered_;
  std::uint64_t waiting_bytes_ = 0;
  // Last: it ends before what it uses.
  std::optional<Executor> thread_;
};

}  // namespace icbd::replicator
