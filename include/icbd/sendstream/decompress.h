// The plain bytes of an EncodedWrite.
//
// Purpose: for who cannot hand a compressed extent to the kernel as it is. Pure. Knows what BTRFS
// writes: zlib, zstd, and LZO1X in sectors of 4 to 64 KiB.
// Guarantees: at most limits::extent_length bytes are unpacked, whatever the data says, and zstd's
// window is bounded by the same. Data that unpack to less than `unencoded_length` are followed by
// zeros, and what is beyond it is dropped, as the kernel does on reading (linux/btrfs.h, struct
// btrfs_ioctl_encoded_io_args).
// Thread-safe, but for one object of a class.
#pragma once

#include <memory>
#include <span>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

// `corrupt` if the lengths do not fit one another; `too_large` if the extent is longer than BTRFS
// has any; `unsupported` for an encryption or a compression that is not known.
Status check_encoding(const EncodedWrite& command);

// Exactly `unencoded_file_length` bytes, which belong at `offset` of the file. Fails as
// check_encoding() does, and as `corrupt` if the data do not unpack.
Result<Bytes> decompress(const EncodedWrite& command);

// The same for many extents, one after the other: keeps what an algorithm needs between them.
class ExtentDecompressor {
 public:
  ExtentDecompressor();
  ~ExtentDecompressor();
  ExtentDecompressor(const ExtentDecompressor&) = delete;
  ExtentDecompressor& operator=(const ExtentDecompressor&) = delete;

  // Fills `plain` with the whole extent, `unencoded_length` bytes, whatever part of it the file
  // holds. Fails as decompress() does; `plain` may then hold anything.
  Status decompress(const EncodedWrite& command, std::span<std::byte> plain);

 private:
  Result<std::size_t> unpack(const EncodedWrite& command, std::span<std::byte> plain);
  class Zstd;
  std::unique_ptr<Zstd> zstd_;  // null until it is needed
};

}  // namespace icbd::sendstream
