// What bulk has asked for and what has not come yet, in the order in which it comes.
//
// Purpose: a reader who wants a chunk that bulk has asked for is told how long it takes to come, so
// that it is asked for again only where that is faster: what crosses the link twice makes everybody
// else wait.
// Lifecycle: bulk calls asked() with each batch when it is its turn, ended() when all of it has
// come or nothing more of it will, and set_rate() now and then. Thread-safe. A guess: it knows
// nothing of what the source sends to others, nor of a link that changes its speed.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <vector>

#include "icbd/replicator/chunk_map.h"
#include "icbd/replicator/filler.h"

namespace icbd::replicator {

class UnderWay {
 public:
  using Seconds = std::chrono::duration<double>;
  struct Batch {
    std::vector<ChunkTask> chunks;
    std::uint64_t bytes = 0;  // of them, what has to be fetched
  };

  explicit UnderWay(const ChunkMap& chunks) : chunks_(chunks) {}

  // Behind all others. What it returns stays where it is until ended().
  const Batch& asked(Batch batch);
  void ended(const Batch& batch);
  // Bytes per second, of late. Nothing is known before the first call.
  void set_rate(double rate);

  // Until the chunk has come: what is before it and what is to come of it, at the rate of late. One
  // that is not in a batch comes after all of them. Empty if nothing has come yet.
  std::optional<Seconds> until(FileIndex file, ChunkIndex chunk) const;

 private:
  const ChunkMap& chunks_;
  mutable std::mutex mutex_;  // guards what is below
  std::list<Batch> batches_;
  std::optional<double> rate_;
};

}  // namespace icbd::replicator
