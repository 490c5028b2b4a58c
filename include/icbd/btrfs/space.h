// How full a BTRFS is, as its allocator sees it.
//
// Purpose: statvfs(3) mixes what is allocated to data, to metadata and to nothing. A filesystem
// whose last unallocated bytes went to data has no room for metadata any more, and then even
// deleting fails: so room is judged by unallocated bytes, and some of them are left alone.
// Source: BTRFS_IOC_SPACE_INFO, BTRFS_IOC_DEV_INFO and BTRFS_IOC_FS_INFO (linux/btrfs.h); the
// numbers are those of `btrfs filesystem usage`. Thread-safe.
#pragma once

#include <cstdint>

#include "icbd/base/error.h"

namespace icbd::btrfs {

// Bytes, as files see them: what a profile stores twice counts once.
struct Allocation {
  std::uint64_t total = 0;          // of all devices
  std::uint64_t unallocated = 0;    // belongs to no block group yet
  std::uint64_t data_free = 0;      // in block groups for data
  std::uint64_t metadata_free = 0;  // in block groups for metadata, without the kernel's reserve
};
Result<Allocation> allocation(int fd);

// The room for new file data if `reserve` bytes are to stay unallocated.
std::uint64_t room_for_data(const Allocation& allocation, std::uint64_t reserve);

// What is left unallocated on a filesystem of this size if nobody says otherwise: 2 %, at least
// 64 MiB, at most 4 GiB. A block group for metadata is 32 MiB to 1 GiB.
std::uint64_t default_reserve(std::uint64_t filesystem_bytes);

// no_space, with the figures, unless this many bytes of files can be written. `reserve` 0: the
// default one.
Status check_room(int fd, std::uint64_t bytes, std::uint64_t reserve = 0);

}  // namespace icbd::btrfs
