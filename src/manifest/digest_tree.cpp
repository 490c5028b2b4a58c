#include "digest_tree.h"

#include <algorithm>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

static_assert(limits::file_size / limits::chunk_size <= UINT32_MAX - page_digests,
              "counts of chunks and the rounding below fit 32 bits");

DigestTree::DigestTree(std::uint32_t chunk_count) : counts_{chunk_count} {
  while (counts_.back() > inline_digests)
    counts_.push_back((counts_.back() + std::uint32_t{page_digests} - 1) / page_digests);
}

std::uint32_t DigestTree::count_in_page(std::uint32_t level, std::uint32_t page) const {
  return std::min(std::uint32_t{page_digests}, counts_[level] - page * std::uint32_t{page_digests});
}

}  // namespace icbd::manifest
