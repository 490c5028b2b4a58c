#include "icbd/btrfs/changed_inodes.h"

#include <endian.h>
#include <linux/btrfs_tree.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tree_search.h"

namespace icbd::btrfs {
namespace {

constexpr std::size_t buffer_size = std::size_t{256} * 1024;
constexpr std::uint64_t first_inode = BTRFS_FIRST_FREE_OBJECTID;
constexpr std::uint64_t last_inode = BTRFS_LAST_FREE_OBJECTID;
constexpr std::uint32_t last_type = std::numeric_limits<std::uint8_t>::max();
constexpr std::uint64_t last_offset = std::numeric_limits<std::uint64_t>::max();

std::uint64_t transaction_of(ByteView inode_item) {
  btrfs_inode_item item{};
  std::memcpy(&item, inode_item.data(), std::min(inode_item.size(), sizeof item));
  return le64toh(item.transid);
}

// The first place behind an item.
TreeKey after(const TreeKey& key) {
  if (key.offset != last_offset) return {key.object, key.type, key.offset + 1};
  if (key.type != last_type) return {key.object, key.type + 1, 0};
  return {key.object + 1, 0, 0};
}

}  // namespace

Result<std::vector<InodeNumber>> inodes_changed_after(int fd, std::uint64_t transaction) {
  std::vector<InodeNumber> changed;
  TreeSearch search(buffer_size);
  TreeSearch::Range range{.first = {.object = first_inode},
                          .last = {last_inode, last_type, last_offset},
                          .min_transaction = transaction + 1};
  while (true) {
    TreeKey seen;
    ICBD_ASSIGN(const std::uint32_t count, search.run(fd, range, [&](const TreeItem& item) {
      seen = {item.object, item.type, item.offset};
      if (item.type == BTRFS_INODE_ITEM_KEY && transaction_of(item.data) > transaction)
        changed.emplace_back(item.object);
    }));
    if (count == 0) return changed;
    range.first = after(seen);
  }
}

}  // namespace icbd::btrfs
