#include "stretch_buffers.h"

#include <algorithm>
#include <array>

#include "icbd/base/limits.h"

namespace icbd::source {
namespace {

constexpr std::array buffer_bytes = {4 * sector, limits::chunk_size + 2 * sector,
                                     2 * limits::chunk_size + 2 * sector,
                                     4 * limits::chunk_size + 2 * sector, stretch_max + 2 * sector};
// Between reads, for the next ones: about what is prepared for one connection.
constexpr std::array<std::size_t, buffer_bytes.size()> buffers_kept = {16, 32, 12, 12, 16};

}  // namespace

StretchBuffers::StretchBuffers() {
  for (std::size_t i = 0; i < buffer_bytes.size(); ++i)
    pools_.emplace_back(buffer_bytes[i], buffers_kept[i]);
}

BufferPool::Buffer StretchBuffers::take(std::uint64_t length) {
  const auto fits = [length](const BufferPool& pool) { return pool.size() >= length; };
  return std::ranges::find_if(pools_, fits)->take();
}

}  // namespace icbd::source
