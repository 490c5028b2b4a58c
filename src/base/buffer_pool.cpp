#include "icbd/base/buffer_pool.h"

#include <mutex>
#include <new>
#include <vector>

namespace icbd {
namespace {

constexpr std::align_val_t page{4096};

struct Free {
  void operator()(std::byte* memory) const { operator delete(memory, page); }
};
using Memory = std::unique_ptr<std::byte, Free>;

}  // namespace

struct BufferPool::State {
  State(std::size_t buffer_size, std::size_t buffers_kept) : size(buffer_size), kept(buffers_kept) {
    spare.reserve(kept);  // giving back must not fail
  }

  void give_back(Memory memory) {
    const std::lock_guard lock(mutex);
    if (spare.size() < kept) spare.push_back(std::move(memory));
  }

  const std::size_t size;
  const std::size_t kept;
  std::mutex mutex;
  std::vector<Memory> spare;  // guarded by mutex; the last one used first: its pages are warm
};

BufferPool::BufferPool(std::size_t size, std::size_t kept)
    : state_(std::make_shared<State>(size, kept)) {}

std::size_t BufferPool::size() const {
  return state_->size;
}

BufferPool::Buffer BufferPool::take() {
  Memory memory;
  {
    const std::lock_guard lock(state_->mutex);
    if (!state_->spare.empty()) {
      memory = std::move(state_->spare.back());
      state_->spare.pop_back();
    }
  }
  if (!memory) memory.reset(static_cast<std::byte*>(operator new(state_->size, page)));
  std::byte* const begin = memory.release();
  std::shared_ptr<std::byte> owner(
      begin, [state = state_](std::byte* used) { state->give_back(Memory(used)); });
  return {.owner = std::move(owner), .bytes = {begin, state_->size}};
}

}  // namespace icbd
