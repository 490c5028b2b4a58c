#include "registered_buffers.h"

#include <mutex>
#include <new>

#include "stretch_buffers.h"

namespace icbd::source {
namespace {

constexpr std::align_val_t memory_page{4096};
constexpr std::size_t registered_bytes = stretch_max + 2 * sector;

struct FreeMemory {
  void operator()(std::byte* memory) const { operator delete(memory, memory_page); }
};

}  // namespace

struct RegisteredBuffers::State {
  State() {
    for (std::size_t i = count; i > 0; --i) spare.push_back(static_cast<std::uint16_t>(i - 1));
  }
  std::span<std::byte> bytes_of(std::uint16_t number) const {
    return {memory.get() + number * registered_bytes, registered_bytes};
  }

  const std::unique_ptr<std::byte, FreeMemory> memory{
      static_cast<std::byte*>(operator new(count * registered_bytes, memory_page))};
  std::mutex mutex;
  std::vector<std::uint16_t>
      spare;  // guarded by mutex; the last one used first: its pages are warm
};

RegisteredBuffers::RegisteredBuffers() : state_(std::make_shared<State>()) {}

std::vector<std::span<std::byte>> RegisteredBuffers::spans() const {
  std::vector<std::span<std::byte>> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(state_->bytes_of(static_cast<std::uint16_t>(i)));
  return all;
}

std::optional<RegisteredBuffers::Buffer> RegisteredBuffers::take() {
  std::uint16_t number = 0;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->spare.empty()) return std::nullopt;
    number = state_->spare.back();
    state_->spare.pop_back();
  }
  const std::span<std::byte> bytes = state_->bytes_of(number);
  std::shared_ptr<std::byte> owner(bytes.data(), [state = state_, number](std::byte*) {
    const std::lock_guard lock(state->mutex);
    state->spare.push_back(number);  // there is room: it was here before
  });
  return Buffer{.owner = std::move(owner), .bytes = bytes, .number = number};
}

}  // namespace icbd::source
