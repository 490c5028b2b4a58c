// One zstd frame per block (RFC 8878), with the plain length in its header and no checksum.
#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <cstdint>
#include <cstring>

#include "algorithms.h"

namespace icbd::codec {
namespace {

class ZstdCompressor final : public Compressor {
 public:
  // False if the library cannot.
  bool begin(int level) {
    return context_ && ZSTD_isError(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel,
                                                           level)) == 0;
  }

 private:
  Result<std::size_t> pack(ByteView plain, std::span<std::byte> room) override {
    const std::size_t length =
        ZSTD_compress2(context_.get(), room.data(), room.size(), plain.data(), plain.size());
    if (ZSTD_isError(length) == 0) return length;
    if (ZSTD_getErrorCode(length) == ZSTD_error_dstSize_tooSmall) return 0;
    return fail(ErrorCode::internal, fmt::format("zstd cannot pack {} bytes: {}", plain.size(),
                                                 ZSTD_getErrorName(length)));
  }

  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(),
                                                                   ZSTD_freeCCtx};
};

// Just one frame of today's format. The library would also take several, frames that hold nothing,
// and those of its versions before 1.0, whose decoders have memory of their own.
bool is_one_frame(ByteView packed) {
  std::uint32_t magic = 0;
  if (packed.size() < sizeof magic) return false;
  std::memcpy(&magic, packed.data(), sizeof magic);
  return magic == ZSTD_MAGICNUMBER &&
         ZSTD_findFrameCompressedSize(packed.data(), packed.size()) == packed.size();
}

// Unpacks from buffer to buffer, so that no window is ever allocated: the plain bytes are it.
class ZstdDecompressor final : public Decompressor {
 public:
  bool begin() const { return context_ != nullptr; }

 private:
  bool unpack(ByteView packed, std::span<std::byte> plain) override {
    return is_one_frame(packed) &&
           ZSTD_decompressDCtx(context_.get(), plain.data(), plain.size(), packed.data(),
                               packed.size()) == plain.size();
  }
  Algorithm algorithm() const override { return Algorithm::zstd; }

  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(),
                                                                   ZSTD_freeDCtx};
};

}  // namespace

Result<std::unique_ptr<Compressor>> make_zstd_compressor(int level) {
  auto compressor = std::make_unique<ZstdCompressor>();
  if (!compressor->begin(level == 0 ? ZSTD_CLEVEL_DEFAULT : level))
    return fail(ErrorCode::internal, "zstd cannot begin to pack");
  return compressor;
}

Result<std::unique_ptr<Decompressor>> make_zstd_decompressor() {
  auto decompressor = std::make_unique<ZstdDecompressor>();
  if (!decompressor->begin()) return fail(ErrorCode::internal, "zstd cannot begin to unpack");
  return decompressor;
}

}  // namespace icbd::codec
