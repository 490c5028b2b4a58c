// Which chunks of an arriving version are here.
//
// Purpose: one small state per chunk of every file, in manifest order. Readers look at it on every
// read, so it takes no lock.
// Guarantees: thread-safe. Once a reader has seen `done`, the chunk's bytes are in the staged file
// and verified, or inherited from a verified parent. Nothing leaves `done`, except a chunk that the
// check at landing finds damaged (revoke). Memory: ten bytes per chunk (128 KiB of file).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "icbd/base/fingerprint.h"
#include "icbd/base/types.h"
#include "icbd/manifest/manifest.h"

namespace icbd::replicator {

enum class ChunkState : std::uint8_t {
  unresolved,  // not yet compared with the manifest
  pending,     // to be filled
  fetching,    // asked for
  done,
};

// Position of a chunk in the version: counted over all files.
using ChunkNumber = StrongNumber<struct ChunkNumberTag, std::uint64_t>;

class ChunkMap {
 public:
  explicit ChunkMap(std::span<const manifest::Entry> entries);

  ChunkNumber number(FileIndex file, ChunkIndex chunk) const {
    return ChunkNumber(first_[file.value()] + chunk.value());
  }
  std::uint64_t count() const { return first_.back(); }

  ChunkState state(ChunkNumber chunk) const {
    return states_[chunk.value()].load(std::memory_order_acquire);
  }
  // Moves to `state`, unless it is done already; returns whether this call moved it.
  bool advance(ChunkNumber chunk, ChunkState state);
  // pending -> fetching; false if it was anything else.
  bool claim(ChunkNumber chunk);
  // fetching -> pending.
  void release(ChunkNumber chunk);
  // done -> pending: its bytes are not what they must be.
  void revoke(ChunkNumber chunk);

  // What this process has verified by its digest and then written, to be compared at landing with
  // what the filesystem has of it. Not for two threads with the same chunk.
  struct Written {
    Fingerprint bytes;
    bool packed = false;  // not of the bytes, but of the extents they were written as
    bool operator==(const Written&) const = default;
  };
  void remember_written(ChunkNumber chunk, Written written);
  std::optional<Written> written(ChunkNumber chunk) const;

  // True if every chunk that `range` of the file touches is done.
  bool is_done(FileIndex file, ByteRange range) const;
  std::uint64_t done_count() const { return done_.load(std::memory_order_relaxed); }

 private:
  std::vector<std::uint64_t> first_;  // of each entry, and one past the last
  std::unique_ptr<std::atomic<ChunkState>[]> states_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> written_;  // 0: not known
  std::unique_ptr<std::atomic<bool>[]> packed_;
  std::atomic<std::uint64_t> done_ = 0;
};

// The chunks that a range of bytes touches: [first, last].
struct ChunkSpan {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};
// `range` must not be empty.
constexpr ChunkSpan chunks_of(ByteRange range) {
  return {static_cast<std::uint32_t>(range.offset / limits::chunk_size),
          static_cast<std::uint32_t>((range.end() - 1) / limits::chunk_size)};
}

}  // namespace icbd::replicator
