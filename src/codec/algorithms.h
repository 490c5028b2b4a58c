// The algorithms, each in a source file that alone sees its library's header.
#pragma once

#include <memory>

#include "icbd/base/error.h"
#include "icbd/codec/codec.h"

namespace icbd::codec {

// The levels that parse_setting() allows; 0 is always the default. None: first and last are 0.
struct Levels {
  int first = 0;
  int last = 0;
};
Levels levels(Algorithm algorithm);

// `level` is allowed; 0 is the default. `internal` if the library cannot begin.
Result<std::unique_ptr<Compressor>> make_lz4_compressor(int level);
Result<std::unique_ptr<Compressor>> make_snappy_compressor();
Result<std::unique_ptr<Compressor>> make_zlib_compressor(int level);
Result<std::unique_ptr<Compressor>> make_zstd_compressor(int level);

Result<std::unique_ptr<Decompressor>> make_lz4_decompressor();
Result<std::unique_ptr<Decompressor>> make_snappy_decompressor();
Result<std::unique_ptr<Decompressor>> make_zlib_decompressor();
Result<std::unique_ptr<Decompressor>> make_zstd_decompressor();

}  // namespace icbd::codec
