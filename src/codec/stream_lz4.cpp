// LZ4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md), with a checksum of the
// content.
#include <fmt/format.h>
#include <lz4frame.h>

#include <algorithm>

#include "streams.h"

namespace icbd::codec {
namespace {

LZ4F_preferences_t preferences(int level) {
  LZ4F_preferences_t chosen{};
  chosen.frameInfo.blockSizeID = LZ4F_max256KB;
  chosen.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  chosen.compressionLevel = level;
  return chosen;
}

class Lz4Packer final : public StreamPacker {
 public:
  explicit Lz4Packer(int level)
      : preferences_(preferences(level)),
        piece_(std::max<std::size_t>(LZ4F_compressBound(stream_piece, &preferences_),
                                     LZ4F_HEADER_SIZE_MAX)) {
    LZ4F_cctx* made = nullptr;
    if (LZ4F_isError(LZ4F_createCompressionContext(&made, LZ4F_VERSION)) == 0) context_.reset(made);
  }
  bool begun() const { return context_ != nullptr; }

  Status pack(ByteView plain, const PieceSink& sink) override {
    ICBD_TRY(begin_frame(sink));
    while (!plain.empty()) {
      const ByteView part = plain.first(std::min(plain.size(), stream_piece));
      plain = plain.subspan(part.size());
      ICBD_TRY(hand_over(LZ4F_compressUpdate(context_.get(), piece_.data(), piece_.size(),
                                             part.data(), part.size(), nullptr),
                         sink));
    }
    return {};
  }

  Status finish(const PieceSink& sink) override {
    ICBD_TRY(begin_frame(sink));
    return hand_over(LZ4F_compressEnd(context_.get(), piece_.data(), piece_.size(), nullptr), sink);
  }

 private:
  Status begin_frame(const PieceSink& sink) {
    if (in_frame_) return {};
    in_frame_ = true;
    return hand_over(
        LZ4F_compressBegin(context_.get(), piece_.data(), piece_.size(), &preferences_), sink);
  }

  Status hand_over(std::size_t length, const PieceSink& sink) const {
    if (LZ4F_isError(length) != 0)
      return fail(ErrorCode::internal,
                  fmt::format("lz4 cannot pack: {}", LZ4F_getErrorName(length)));
    if (length == 0) return {};
    return sink(ByteView(piece_).first(length));
  }

  LZ4F_preferences_t preferences_;
  Bytes piece_;
  std::unique_ptr<LZ4F_cctx, std::size_t (*)(LZ4F_cctx*)> context_{nullptr,
                                                                   LZ4F_freeCompressionContext};
  bool in_frame_ = false;
};

class Lz4Unpacker final : public StreamUnpacker {
 public:
  Lz4Unpacker() {
    LZ4F_dctx* made = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) == 0)
      context_.reset(made);
  }
  bool begun() const { return context_ != nullptr; }

  Status unpack(ByteView packed, const PieceSink& sink) override {
    bool full = false;  // then there may be more to come out of what has gone in
    while (!packed.empty() || full) {
      std::size_t taken = packed.size();
      std::size_t made = piece_.size();
      const std::size_t wanted =
          LZ4F_decompress(context_.get(), piece_.data(), &made, packed.data(), &taken, nullptr);
      if (LZ4F_isError(wanted) != 0)
        return fail(ErrorCode::corrupt,
                    fmt::format("lz4 data do not unpack: {}", LZ4F_getErrorName(wanted)));
      packed = packed.subspan(taken);
      between_frames_ = wanted == 0;
      full = made == piece_.size() && !between_frames_;
      if (made > 0) ICBD_TRY(sink(ByteView(piece_).first(made)));
    }
    return {};
  }

  Status finish() override {
    if (!between_frames_) return cut_short("lz4");
    return {};
  }

 private:
  std::unique_ptr<LZ4F_dctx, std::size_t (*)(LZ4F_dctx*)> context_{nullptr,
                                                                   LZ4F_freeDecompressionContext};
  Bytes piece_ = Bytes(stream_piece);
  bool between_frames_ = false;
};

}  // namespace

Result<std::unique_ptr<StreamPacker>> make_lz4_stream_packer(int level) {
  auto packer = std::make_unique<Lz4Packer>(level);
  if (!packer->begun()) return fail(ErrorCode::internal, "lz4 cannot begin to pack");
  return packer;
}

Result<std::unique_ptr<StreamUnpacker>> make_lz4_stream_unpacker() {
  auto unpacker = std::make_unique<Lz4Unpacker>();
  if (!unpacker->begun()) return fail(ErrorCode::internal, "lz4 cannot begin to unpack");
  return unpacker;
}

}  // namespace icbd::codec
