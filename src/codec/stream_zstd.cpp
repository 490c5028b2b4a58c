// zstd frames (RFC 8878), with a checksum of the content.
#include <fmt/format.h>
#include <zstd.h>

#include "streams.h"

namespace icbd::codec {
namespace {

class ZstdPacker final : public StreamPacker {
 public:
  bool begin(int level) {
    return context_ &&
           ZSTD_isError(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level)) ==
               0 &&
           ZSTD_isError(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1)) == 0;
  }

  Status pack(ByteView plain, const PieceSink& sink) override {
    return run(plain, ZSTD_e_continue, sink);
  }
  Status finish(const PieceSink& sink) override { return run({}, ZSTD_e_end, sink); }

 private:
  Status run(ByteView plain, ZSTD_EndDirective directive, const PieceSink& sink) {
    ZSTD_inBuffer in{.src = plain.data(), .size = plain.size(), .pos = 0};
    while (true) {
      ZSTD_outBuffer out{.dst = piece_.data(), .size = piece_.size(), .pos = 0};
      const std::size_t left = ZSTD_compressStream2(context_.get(), &out, &in, directive);
      if (ZSTD_isError(left) != 0)
        return fail(ErrorCode::internal,
                    fmt::format("zstd cannot pack: {}", ZSTD_getErrorName(left)));
      if (out.pos > 0) ICBD_TRY(sink(ByteView(piece_).first(out.pos)));
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return {};
    }
  }

  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(),
                                                                   ZSTD_freeCCtx};
  Bytes piece_ = Bytes(stream_piece);
};

class ZstdUnpacker final : public StreamUnpacker {
 public:
  bool begin() const { return context_ != nullptr; }

  Status unpack(ByteView packed, const PieceSink& sink) override {
    ZSTD_inBuffer in{.src = packed.data(), .size = packed.size(), .pos = 0};
    bool full = false;  // then there may be more to come out of what has gone in
    while (in.pos < in.size || full) {
      ZSTD_outBuffer out{.dst = piece_.data(), .size = piece_.size(), .pos = 0};
      const std::size_t wanted = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(wanted) != 0)
        return fail(ErrorCode::corrupt,
                    fmt::format("zstd data do not unpack: {}", ZSTD_getErrorName(wanted)));
      between_frames_ = wanted == 0;
      full = out.pos == out.size && !between_frames_;
      if (out.pos > 0) ICBD_TRY(sink(ByteView(piece_).first(out.pos)));
    }
    return {};
  }

  Status finish() override {
    if (!between_frames_) return cut_short("zstd");
    return {};
  }

 private:
  // Takes windows of up to 2^27 bytes (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(),
                                                                   ZSTD_freeDCtx};
  Bytes piece_ = Bytes(stream_piece);
  bool between_frames_ = false;
};

}  // namespace

Result<std::unique_ptr<StreamPacker>> make_zstd_stream_packer(int level) {
  auto packer = std::make_unique<ZstdPacker>();
  if (!packer->begin(level == 0 ? ZSTD_CLEVEL_DEFAULT : level))
    return fail(ErrorCode::internal, "zstd cannot begin to pack");
  return packer;
}

Result<std::unique_ptr<StreamUnpacker>> make_zstd_stream_unpacker() {
  auto unpacker = std::make_unique<ZstdUnpacker>();
  if (!unpacker->begin()) return fail(ErrorCode::internal, "zstd cannot begin to unpack");
  return unpacker;
}

}  // namespace icbd::codec
