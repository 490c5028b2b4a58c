// Large buffers that are used again and again.
//
// Purpose: memory of this size comes from the kernel page by page, and goes back to it, each time
// it is allocated: a fault for every 4 KiB of what passes through. What is kept here has its pages.
// Lifecycle: a buffer that was taken lives as long as somebody holds it, also beyond the pool; the
// last holder gives it back, or frees it if enough are kept.
// Guarantees: thread-safe. Buffers begin at a page's border, as reads past the page cache need it;
// their content is whatever was in them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace icbd {

class BufferPool {
 public:
  // Keeps up to `kept` buffers of `size` bytes, a multiple of the page's 4096, for later.
  BufferPool(std::size_t size, std::size_t kept);

  struct Buffer {
    std::shared_ptr<std::byte> owner;
    std::span<std::byte> bytes;
  };
  // Never fails but as any allocation does.
  Buffer take();
  std::size_t size() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace icbd
