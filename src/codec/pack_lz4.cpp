// lz4's block format: no header, no checksum, no length.
#include <lz4.h>
#include <lz4hc.h>

#include <vector>

#include "algorithms.h"

namespace icbd::codec {
namespace {

const char* characters(ByteView bytes) {
  return reinterpret_cast<const char*>(bytes.data());
}
char* characters(std::span<std::byte> bytes) {
  return reinterpret_cast<char*>(bytes.data());
}

// Numbers of 64 bits, because both states want to be aligned to that.
std::vector<std::uint64_t> make_state(int bytes) {
  return std::vector<std::uint64_t>((static_cast<std::size_t>(bytes) + 7) / 8);
}

class Lz4Compressor final : public Compressor {
 public:
  explicit Lz4Compressor(int level)
      : level_(level), state_(make_state(level == 0 ? LZ4_sizeofState() : LZ4_sizeofStateHC())) {}

 private:
  Result<std::size_t> pack(ByteView plain, std::span<std::byte> room) override {
    const int length = static_cast<int>(plain.size());
    const int most = static_cast<int>(room.size());
    const int packed = level_ == 0
                           ? LZ4_compress_fast_extState(state_.data(), characters(plain),
                                                        characters(room), length, most, 1)
                           : LZ4_compress_HC_extStateHC(state_.data(), characters(plain),
                                                        characters(room), length, most, level_);
    return static_cast<std::size_t>(packed);  // 0: no room
  }

  int level_;
  std::vector<std::uint64_t> state_;
};

class Lz4Decompressor final : public Decompressor {
  bool unpack(ByteView packed, std::span<std::byte> plain) override {
    return LZ4_decompress_safe(characters(packed), characters(plain),
                               static_cast<int>(packed.size()),
                               static_cast<int>(plain.size())) == static_cast<int>(plain.size());
  }
  Algorithm algorithm() const override { return Algorithm::lz4; }
};

}  // namespace

Result<std::unique_ptr<Compressor>> make_lz4_compressor(int level) {
  return std::make_unique<Lz4Compressor>(level);
}

Result<std::unique_ptr<Decompressor>> make_lz4_decompressor() {
  return std::make_unique<Lz4Decompressor>();
}

}  // namespace icbd::codec
