// The containers of stream.h, each in a source file that alone sees its library's header.
#pragma once

#include <memory>

#include "icbd/base/error.h"
#include "icbd/codec/stream.h"

namespace icbd::codec {

// What comes out of a library in one go.
inline constexpr std::size_t stream_piece = 128 * 1024;

// Level 0 is the default. `internal` if the library cannot begin.
Result<std::unique_ptr<StreamPacker>> make_lz4_stream_packer(int level);
Result<std::unique_ptr<StreamPacker>> make_snappy_stream_packer();
Result<std::unique_ptr<StreamPacker>> make_gzip_stream_packer(int level);
Result<std::unique_ptr<StreamPacker>> make_zstd_stream_packer(int level);

Result<std::unique_ptr<StreamUnpacker>> make_lz4_stream_unpacker();
Result<std::unique_ptr<StreamUnpacker>> make_snappy_stream_unpacker();
Result<std::unique_ptr<StreamUnpacker>> make_gzip_stream_unpacker();
Result<std::unique_ptr<StreamUnpacker>> make_zstd_stream_unpacker();

inline std::unexpected<Error> cut_short(std::string_view container) {
  return fail(ErrorCode::corrupt, std::string(container) + " data stop before their end");
}

}  // namespace icbd::codec
