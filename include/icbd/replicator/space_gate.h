// Whether there is room for what is about to arrive.
//
// Purpose: asked before a shape, before a fill and during it, so that an arrival waits instead of
// filling the filesystem to the point where even deleting fails. Judged by what BTRFS has not yet
// allocated, less a reserve (see icbd/btrfs/space.h).
// Guarantees: thread-safe. Two that ask at the same moment may both be told that there is room: the
// reserve is there for that, and ENOSPC pauses an arrival as well.
#pragma once

#include <atomic>
#include <cstdint>

#include "icbd/base/error.h"
#include "icbd/btrfs/space.h"

namespace icbd::replicator {

class SpaceGate {
 public:
  // `directory_fd` stays the caller's. `reserve` 0: chosen by the size of the filesystem.
  SpaceGate(int directory_fd, std::uint64_t reserve)
      : directory_fd_(directory_fd), reserve_(reserve) {}

  // no_space, with the figures, unless this many bytes of files can be written.
  Status check(std::uint64_t bytes) const;
  void set_reserve(std::uint64_t reserve) { reserve_ = reserve; }

 private:
  int directory_fd_;
  std::atomic<std::uint64_t> reserve_;
};

using btrfs::default_reserve;

}  // namespace icbd::replicator
