// LZO1X, unpacking only.
//
// By hand, because the one library that is packaged for it (liblzo2) is under the GPL, which this
// project's licence does not go with. Source for the format: Documentation/staging/lzo.rst of Linux
// 6.18. Its run-length variant (LZO-RLE) is not BTRFS's.
// Thread-safe: no state.
#pragma once

#include <cstddef>
#include <span>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::sendstream {

// Unpacks one LZO1X stream, its end mark included, into `output`; returns the bytes written.
// `corrupt` if it does not fit, refers to bytes before the beginning, or stops before its end.
Result<std::size_t> unpack_lzo1x(ByteView packed, std::span<std::byte> output);

// Unpacks an extent that BTRFS compressed with LZO: a length, and then sectors, each with a length
// of its own (fs/btrfs/lzo.c). Returns the bytes written; more than fit into `output` are dropped.
Result<std::size_t> unpack_lzo_extent(ByteView packed, std::size_t sector_size,
                                      std::span<std::byte> output);

}  // namespace icbd::sendstream
