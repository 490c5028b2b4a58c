// The shape of the tree of digests above a file's chunks: a function of the chunk count alone.
//
//   level 0     one digest for each chunk
//   level n+1   one digest for each page of up to page_digests digests of level n
//   top         the first level with at most inline_digests: it stands in the file's entry
#pragma once

#include <cstdint>
#include <vector>

namespace icbd::manifest {

class DigestTree {
 public:
  explicit DigestTree(std::uint32_t chunk_count);

  // The level that stands in the entry; 0 if the chunks' own digests do.
  std::uint32_t top() const { return static_cast<std::uint32_t>(counts_.size() - 1); }
  std::uint32_t top_count() const { return counts_.back(); }
  // Digests of that level.
  std::uint32_t count(std::uint32_t level) const { return counts_[level]; }
  // Digests of `level` in its page `page`: all pages are full but the last.
  std::uint32_t count_in_page(std::uint32_t level, std::uint32_t page) const;

 private:
  std::vector<std::uint32_t> counts_;
};

}  // namespace icbd::manifest
