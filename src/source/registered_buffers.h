// Memory for the longest stretches that the kernel has been told of once.
//
// Purpose: a read past the page cache into memory that a ring knows pins no pages and looks up
// none. There are as many as a disk has use for at once; whoever finds none takes other memory.
// Lifecycle: construct, hand spans() to the ring, take(). A buffer lives as long as somebody holds
// it, also beyond this object, and beyond the ring.
// Guarantees: thread-safe. Each begins at a page's border and holds a stretch of stretch_max bytes
// with the rest of the sectors at both of its ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace icbd::source {

class RegisteredBuffers {
 public:
  static constexpr std::size_t count = 16;

  RegisteredBuffers();
  // All of them, in the order of their numbers.
  std::vector<std::span<std::byte>> spans() const;

  struct Buffer {
    std::shared_ptr<std::byte> owner;
    std::span<std::byte> bytes;
    std::uint16_t number = 0;
  };
  // None if all are held.
  std::optional<Buffer> take();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace icbd::source
