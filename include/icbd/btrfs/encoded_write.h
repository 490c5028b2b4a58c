// Compressed extents, handed to BTRFS as they are.
#pragma once

#include <cstdint>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::btrfs {

// The members of struct btrfs_ioctl_encoded_io_args (linux/btrfs.h). Offsets and lengths in bytes.
struct EncodedExtent {
  ByteView data;                       // packed
  std::uint64_t offset = 0;            // in the file
  std::uint64_t file_length = 0;       // how much of the extent the file holds …
  std::uint64_t unencoded_offset = 0;  // … from where in the extent
  std::uint64_t unencoded_length = 0;  // of the whole extent
  std::uint32_t compression = 0;       // BTRFS_ENCODED_IO_COMPRESSION_*
};

// BTRFS_IOC_ENCODED_WRITE. `unsupported` if this extent cannot be written as it is, so that the
// caller unpacks it: kernels before 6.0 and other filesystems (ENOTTY), files without checksums or
// copy-on-write, LZO of another sector size, offsets that are no multiple of a sector (EINVAL), no
// CAP_SYS_ADMIN (EPERM), no room for it in one piece (ENOSPC: plain data may still fit in parts).
// The kernel does not look into the data: what does not unpack is EIO for whoever reads it.
Status encoded_write(int fd, const EncodedExtent& extent);

}  // namespace icbd::btrfs
