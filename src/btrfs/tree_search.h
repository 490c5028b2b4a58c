// One search in the tree of a subvolume: BTRFS_IOC_TREE_SEARCH_V2 and the walk over its answer.
//
// The items are those of the running transaction. Privileges: CAP_SYS_ADMIN. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::btrfs {

// As in struct btrfs_ioctl_search_header.
struct TreeItem {
  std::uint64_t object = 0;
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
  ByteView data;
};

// A place in the tree: the three are compared one after the other.
struct TreeKey {
  std::uint64_t object = 0;
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
};

class TreeSearch {
 public:
  // An answer holds at least one item, so a whole leaf (at most 64 KiB) must fit.
  explicit TreeSearch(std::size_t buffer_size);

  struct Range {
    TreeKey first;
    TreeKey last;  // included
    // Only what lies in leaves that were written in this transaction or later.
    std::uint64_t min_transaction = 0;
  };
  // Items of the subvolume of `fd`, the first ones of the range; returns how many. None: there are
  // no more. `found` gets each, in order; its data is valid during the call.
  Result<std::uint32_t> run(int fd, const Range& range,
                            const std::function<void(const TreeItem&)>& found);

 private:
  std::vector<std::uint64_t> buffer_;
};

}  // namespace icbd::btrfs
