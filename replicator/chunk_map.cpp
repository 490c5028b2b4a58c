#include "icbd/replicator/chunk_map.h"

namespace icbd::replicator {

ChunkMap::ChunkMap(std::span<const manifest::Entry> entries) {
  std::uint64_t total = 0;
  first_.reserve(entries.size() + 1);
  for (const manifest::Entry& entry : entries) {
    first_.push_back(total);
    if (entry.type == manifest::EntryType::file) total += entry.chunk_count();
  }
  first_.push_back(total);
  states_ = std::make_unique<std::atomic<ChunkState>[]>(total);
  written_ = std::make_unique<std::atomic<std::uint64_t>[]>(total);
  packed_ = std::make_unique<std::atomic<bool>[]>(total);
}

bool ChunkMap::advance(ChunkNumber chunk, ChunkState state) {
  std::atomic<ChunkState>& current = states_[chunk.value()];
  ChunkState seen = current.load(std::memory_order_acquire);
  while (seen != ChunkState::done) {
    if (!current.compare_exchange_weak(seen, state, std::memory_order_acq_rel)) continue;
    if (state == ChunkState::done) done_.fetch_add(1, std::memory_order_relaxed);
    return seen != state;
  }
  return false;
}

bool ChunkMap::claim(ChunkNumber chunk) {
  ChunkState expected = ChunkState::pending;
  return states_[chunk.value()].compare_exchange_strong(expected, ChunkState::fetching);
}

void ChunkMap::release(ChunkNumber chunk) {
  ChunkState expected = ChunkState::fetching;
  states_[chunk.value()].compare_exchange_strong(expected, ChunkState::pending);
}

void ChunkMap::remember_written(ChunkNumber chunk, Written written) {
  packed_[chunk.value()].store(written.packed, std::memory_order_relaxed);
  written_[chunk.value()].store(written.bytes.value(), std::memory_order_release);
}

// One fingerprint of 2^64 reads as none: that chunk is compared by its digest.
std::optional<ChunkMap::Written> ChunkMap::written(ChunkNumber chunk) const {
  const std::uint64_t bytes = written_[chunk.value()].load(std::memory_order_acquire);
  if (bytes == 0) return std::nullopt;
  return Written{.bytes = Fingerprint(bytes),
                 .packed = packed_[chunk.value()].load(std::memory_order_relaxed)};
}

void ChunkMap::revoke(ChunkNumber chunk) {
  written_[chunk.value()].store(0, std::memory_order_relaxed);
  ChunkState expected = ChunkState::done;
  if (states_[chunk.value()].compare_exchange_strong(expected, ChunkState::pending))
    done_.fetch_sub(1, std::memory_order_relaxed);
}

bool ChunkMap::is_done(FileIndex file, ByteRange range) const {
  const std::uint64_t chunks = first_[file.value() + 1] - first_[file.value()];
  range = intersect(range, {0, chunks * limits::chunk_size});
  if (range.empty()) return true;
  const ChunkSpan span = chunks_of(range);
  for (std::uint32_t chunk = span.first; chunk <= span.last; ++chunk)
    if (state(number(file, ChunkIndex(chunk))) != ChunkState::done) return false;
  return true;
}

}  // namespace icbd::replicator
