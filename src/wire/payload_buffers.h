// Where the payloads of frames lie.
//
// Purpose: large payloads come in buffers that are used again (see BufferPool), small ones in
// memory of their own. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "icbd/base/buffer_pool.h"

namespace icbd::wire {

struct PayloadBuffer {
  std::shared_ptr<void> owner;
  std::span<std::byte> bytes;  // not set to zero
};

class PayloadBuffers {
 public:
  PayloadBuffer take(std::size_t size) const {
    if (size > large_bytes || size < pooled_min) {
      auto memory = std::make_shared_for_overwrite<std::byte[]>(size);
      const std::span<std::byte> bytes(memory.get(), size);
      return {.owner = std::move(memory), .bytes = bytes};
    }
    BufferPool::Buffer buffer = (size <= small_bytes ? small_ : large_)->take();
    return {.owner = std::move(buffer.owner), .bytes = buffer.bytes.first(size)};
  }

 private:
  // A chunk, and a unit of the data service, each with its table of extents.
  static constexpr std::size_t small_bytes = 160 * 1024;
  static constexpr std::size_t large_bytes = (1024 + 64) * 1024;
  // The C library's memory does as well for less.
  static constexpr std::size_t pooled_min = 32 * 1024;
  // What waits for its callers, and one that each of those is at.
  static constexpr std::size_t small_kept = 32;
  static constexpr std::size_t large_kept = 20;

  std::unique_ptr<BufferPool> small_ = std::make_unique<BufferPool>(small_bytes, small_kept);
  std::unique_ptr<BufferPool> large_ = std::make_unique<BufferPool>(large_bytes, large_kept);
};

}  // namespace icbd::wire
