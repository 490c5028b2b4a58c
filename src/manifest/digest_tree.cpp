#include "digest_tree.h"

#include <algorithm>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {
namespace {

// The unit of counts here; page_digests itself is a size.
constexpr auto fanout = static_cast<std::uint32_t>(page_digests);

}  // namespace

static_assert(limits::file_size / limits::chunk_size <= UINT32_MAX - fanout,
              "counts of chunks and the rounding below fit 32 bits");

DigestTree::DigestTree(std::uint32_t chunk_count) : counts_{chunk_count} {
  while (counts_.back() > inline_digests) {
    const std::uint32_t pages = (counts_.back() + fanout - 1) / fanout;
    counts_.push_back(pages);
  }
}

std::uint32_t DigestTree::count_in_page(std::uint32_t level, std::uint32_t page) const {
  return std::min(fanout, counts_[level] - page * fanout);
}

}  // namespace icbd::manifest
