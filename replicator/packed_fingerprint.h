// The fingerprint of a chunk as the compressed extents that hold it.
//
// Purpose: a chunk that was stored as compressed extents, as they came, is compared at landing with
// what lies on the disk without unpacking it. Where an extent reaches out of the chunk, only its
// place in the chunk counts, and all of its packed bytes.
#pragma once

#include <array>
#include <optional>

#include "icbd/base/bytes.h"
#include "icbd/base/fingerprint.h"
#include "icbd/base/types.h"
#include "icbd/btrfs/encoded_read.h"

namespace icbd::replicator {

class PackedFingerprint {
 public:
  // What an extent holds of the chunk: `part` of the file, from `unencoded_offset` on in what
  // `data` unpacks to. In the order of the file.
  void add(ByteRange part, std::uint64_t unencoded_offset, std::uint64_t unencoded_length,
           std::uint32_t compression, ByteView data) {
    const std::array<std::uint64_t, 5> place = {part.offset, part.length, unencoded_offset,
                                                unencoded_length, compression};
    pieces_.add(std::as_bytes(std::span(place)));
    pieces_.add(data);
  }
  Fingerprint value() const { return pieces_.value(); }

 private:
  FingerprintOfPieces pieces_;
};

// Of what the filesystem has in `chunk`, a range of the file; none if not all of it is compressed
// extents, or it cannot be read as such. A buffer of limits::extent_length bytes.
inline std::optional<Fingerprint> packed_fingerprint(int fd, ByteRange chunk,
                                                     std::span<std::byte> buffer) {
  PackedFingerprint found;
  for (std::uint64_t at = chunk.offset; at < chunk.end();) {
    const auto extent = btrfs::encoded_read(fd, at, buffer);
    if (!extent || extent->compression == 0 || extent->file_length == 0 ||
        extent->length > buffer.size())
      return std::nullopt;
    const ByteRange part = intersect({at, extent->file_length}, chunk);
    found.add(part, extent->unencoded_offset, extent->unencoded_length, extent->compression,
              buffer.first(extent->length));
    at = part.end();
  }
  return found.value();
}

}  // namespace icbd::replicator
