// Memory for the bytes of one stretch of a file, used again and again.
//
// Purpose: see BufferPool. Stretches are those of small files, or of one chunk to as many as are
// read at once. Each takes the next size that it fits into, which is about twice its own at most
// from a chunk on: as long as it is held, so is all of it.
//
// Guarantees: thread-safe. Begins at a page's border.
#pragma once

#include <cstdint>
#include <vector>

#include "icbd/base/buffer_pool.h"

namespace icbd::source {

// The longest stretch of one read: enough for the disk, small enough to be held a few times over.
inline constexpr std::uint64_t stretch_max = 1024 * 1024;
// Reads past the page cache take whole sectors (open(2), O_DIRECT; BTRFS's own unit is 4 KiB).
inline constexpr std::uint64_t sector = 4096;

class StretchBuffers {
 public:
  StretchBuffers();
  // For a stretch of at most stretch_max bytes, and the rest of the sectors at both of its ends.
  BufferPool::Buffer take(std::uint64_t length);

 private:
  std::vector<BufferPool> pools_;  // smallest first
};

}  // namespace icbd::source
