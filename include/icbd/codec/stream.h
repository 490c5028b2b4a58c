// Packing and unpacking of whole streams, in the containers that everybody's tools read.
//
// Purpose: `icbd send --compress` and `icbd receive`. What is packed here, `zstd -d`, `lz4 -d` and
// `gunzip` unpack, and the other way round: zstd frames (RFC 8878), LZ4 frames, gzip (RFC 1952) for
// zlib, and snappy's framing format.
// Lifecycle: feed pieces of any size, then finish() once. An error is final. Not thread-safe.
// Guarantees: memory is bounded whatever the data say: a zstd window takes at most 128 MiB, which
// is what zstd's own program takes, anything else a few MiB. Containers may follow each other, as
// `cat` makes it. A container that is cut short is always noticed, and each has checksums (of a
// zstd or LZ4 frame made elsewhere, if it was asked for).
#pragma once

#include <functional>
#include <memory>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/codec/codec.h"

namespace icbd::codec {

// Takes what came out. Its error ends the call that it was called from.
using PieceSink = std::function<Status(ByteView piece)>;

class StreamPacker {
 public:
  virtual ~StreamPacker() = default;
  virtual Status pack(ByteView plain, const PieceSink& sink) = 0;
  // There is no more.
  virtual Status finish(const PieceSink& sink) = 0;
};

class StreamUnpacker {
 public:
  virtual ~StreamUnpacker() = default;
  // `corrupt` if it cannot be unpacked.
  virtual Status unpack(ByteView packed, const PieceSink& sink) = 0;
  // There is no more: `corrupt` within a container.
  virtual Status finish() = 0;
};

// `none` hands over what it gets. `invalid_argument` for a level that the algorithm does not have.
Result<std::unique_ptr<StreamPacker>> make_stream_packer(Setting setting);
Result<std::unique_ptr<StreamUnpacker>> make_stream_unpacker(Algorithm algorithm);

// How many bytes of its beginning tell a container, at most.
inline constexpr std::size_t container_magic_length = 10;
// The container that begins so; `none` if it is none of these.
Algorithm detect_container(ByteView beginning);

}  // namespace icbd::codec
