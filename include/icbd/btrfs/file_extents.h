// Where the bytes of a file lie on disk.
//
// Purpose: two ranges that lie on the same extents have the same bytes, without reading either.
// Source: EXTENT_DATA items, read with BTRFS_IOC_TREE_SEARCH_V2 (linux/btrfs_tree.h). FIEMAP would
// not do: it does not tell where in a compressed extent a range begins.
// The items are those of the running transaction; bytes that are still only in the page cache have
// none yet: sync the file before.
// Privileges: CAP_SYS_ADMIN. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::btrfs {

struct FileExtent {
  enum class Kind : std::uint8_t {
    zeros,   // a hole, or allocated and never written
    shared,  // `disk` and `disk_offset` name the bytes
    inlined  // in the metadata: to be compared by reading
  };
  ByteRange range;  // in the file
  Kind kind = Kind::zeros;
  std::uint64_t disk = 0;         // where the extent begins, in the filesystem's address space
  std::uint64_t disk_offset = 0;  // of the range in the extent, after decompression
  bool operator==(const FileExtent&) const = default;
};

// What the bytes of `window` of an inode are, in order and without gaps; pieces that continue each
// other are joined, so that equal layouts compare equal however they are cut. `fd` is any
// descriptor on the subvolume.
Result<std::vector<FileExtent>> file_extents(int fd, InodeNumber inode, ByteRange window);

}  // namespace icbd::btrfs
