// snappy's raw format: the plain length, then the data. No checksum.
#include <snappy.h>

#include <cstring>

#include "algorithms.h"

namespace icbd::codec {
namespace {

const char* characters(ByteView bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}

class SnappyCompressor final : public Compressor {
  Result<std::size_t> pack(ByteView plain, std::span<std::byte> room) override {
    // It wants room for the worst case, and cannot be told to stop before.
    scratch_.resize(std::max(scratch_.size(), snappy::MaxCompressedLength(plain.size())));
    std::size_t length = 0;
    snappy::RawCompress(characters(plain), plain.size(), reinterpret_cast<char*>(scratch_.data()),
                        &length);
    if (length > room.size()) return 0;
    std::memcpy(room.data(), scratch_.data(), length);
    return length;
  }

  Bytes scratch_;
};

class SnappyDecompressor final : public Decompressor {
  bool unpack(ByteView packed, std::span<std::byte> plain) override {
    // RawUncompress() writes as much as the data say: they are asked before.
    std::size_t length = 0;
    return snappy::GetUncompressedLength(characters(packed), packed.size(), &length) &&
           length == plain.size() &&
           snappy::RawUncompress(characters(packed), packed.size(),
                                 reinterpret_cast<char*>(plain.data()));
  }
  Algorithm algorithm() const override { return Algorithm::snappy; }
};

}  // namespace

Result<std::unique_ptr<Compressor>> make_snappy_compressor() {
  return std::make_unique<SnappyCompressor>();
}

Result<std::unique_ptr<Decompressor>> make_snappy_decompressor() {
  return std::make_unique<SnappyDecompressor>();
}

}  // namespace icbd::codec
