// What bulk has asked for and what has not come yet, in the order in which it comes; and whether a
// reader who wants some of it had better ask for it too.
//
// Purpose: what crosses the link twice makes everybody wait, and so does what comes behind seconds
// of other bytes. A chunk is left to bulk if it is expected no later than if it were asked for.
// Lifecycle: bulk calls restart() when it begins, asked() with each batch when it is its turn,
// ended() when all of it has come or nothing more of it will, and set_rate() now and then; whoever
// has asked for a chunk because a reader waits says what it took with note_asking().
// Thread-safe. All of it is a guess: it knows nothing of what the source sends to others, nor of a
// link that changes its speed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <vector>

#include "icbd/base/clock.h"
#include "icbd/replicator/chunk_map.h"
#include "icbd/replicator/filler.h"

namespace icbd::replicator {

class UnderWay {
 public:
  using Seconds = std::chrono::duration<double>;
  // Nobody waits longer than this for what he could ask for.
  static constexpr std::chrono::milliseconds longest_patience{500};
  // What bulk gets while nothing is known of its speed: it has begun a moment ago, and who reads
  // what comes first would have all of it cross the link twice.
  static constexpr std::chrono::milliseconds first_patience{100};
  // After this, that nothing is known means that the link is slow.
  static constexpr std::chrono::milliseconds first_moment{500};
  // What is taken for known of asking before anything was asked for.
  static constexpr std::chrono::milliseconds first_asking{20};

  struct Batch {
    std::vector<ChunkTask> chunks;
    std::uint64_t bytes = 0;  // of them, what has to be fetched
  };

  // Both outlive it.
  UnderWay(const ChunkMap& chunks, const Clock& clock)
      : chunks_(chunks), clock_(clock), begun_(clock.now()) {}

  // Forgets the rate: it may be another link.
  void restart();
  // Behind all others. What it returns stays where it is until ended().
  const Batch& asked(Batch batch);
  void ended(const Batch& batch);
  // Bytes per second, of bulk alone, of late.
  void set_rate(double rate);
  // So long it took to ask for `chunks` of them at once.
  void note_asking(Seconds took, std::size_t chunks);

  // Until the chunk has come: what is before it and what is to come of it, at the rate of late. One
  // that is not in a batch comes after all of them. Empty before the rate is known.
  std::optional<Seconds> until(FileIndex file, ChunkIndex chunk) const;

  // A chunk that a reader wants and somebody is fetching.
  struct Wanted {
    FileIndex file = {};
    ChunkIndex chunk = {};
    std::size_t before = 0;   // how many chunks the same reader wants before it
    bool for_reader = false;  // it is on its way for another reader, not for bulk
    bool follows = false;     // the reader goes through the file, just behind bulk
  };
  // For how long it is left to who is fetching it; empty if it had better be asked for at once.
  std::optional<std::chrono::milliseconds> patience(const Wanted& wanted) const;

 private:
  std::optional<Seconds> until_locked(FileIndex file, ChunkIndex chunk) const;

  const ChunkMap& chunks_;
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards what is below
  std::list<Batch> batches_;
  std::optional<double> rate_;
  Clock::TimePoint begun_;
  Seconds asking_ = first_asking;
};

}  // namespace icbd::replicator
