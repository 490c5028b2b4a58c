// Compressed extents, taken from BTRFS as they lie on the disk.
//
// Purpose: what is compressed already need not be unpacked to be sent, nor packed again where it
// arrives (see encoded_write.h for the other end).
// Privileges: CAP_SYS_ADMIN. Thread-safe. What is only in the page cache yet is not seen by
// compressed_extents(): sync the file before, or ask about a read-only snapshot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::btrfs {

// One reference of a file to a compressed extent.
struct CompressedExtent {
  ByteRange range;  // in the file, in whole sectors: the last one may reach over the file's end
  std::uint64_t packed_length = 0;  // of the whole extent, on the disk
  bool operator==(const CompressedExtent&) const = default;
};
// Those that `window` of an inode touches, in order. Small files in the metadata are none. `fd` is
// any descriptor on the subvolume.
Result<std::vector<CompressedExtent>> compressed_extents(int fd, InodeNumber inode,
                                                         ByteRange window);

// What BTRFS_IOC_ENCODED_READ says of what it read: the members of btrfs_ioctl_encoded_io_args
// (linux/btrfs.h).
struct EncodedRead {
  std::size_t length = 0;              // bytes that it put into the buffer
  std::uint64_t file_length = 0;       // how much of the file they hold
  std::uint64_t unencoded_offset = 0;  // … from where in what they unpack to
  std::uint64_t unencoded_length = 0;
  std::uint32_t compression = 0;  // BTRFS_ENCODED_IO_COMPRESSION_*; 0: these are plain bytes
};
// The extent that `offset` of the file lies in, from there to its end; past the page cache. A
// buffer of limits::extent_length bytes holds any. `unsupported` if the kernel cannot or may not
// (before 5.18, another filesystem, no CAP_SYS_ADMIN, an encryption): read it plainly.
Result<EncodedRead> encoded_read(int fd, std::uint64_t offset, std::span<std::byte> buffer);

// True if what is written below `fd` gets compressed: its filesystem is mounted so, or its inode is
// marked so, as what is made below it then is too.
bool wants_compression(int fd);

}  // namespace icbd::btrfs
