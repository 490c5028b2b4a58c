// gzip (RFC 1952) around zlib's deflate.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "streams.h"

namespace icbd::codec {
namespace {

// zlib.h, inflateInit2: 15 is the largest window, 16 more says gzip instead of zlib's own header.
constexpr int gzip_window_bits = 15 + 16;
constexpr int usual_memory_level = 8;

// zlib's interface is not const-correct; it only reads.
void set_input(z_stream& stream, ByteView bytes) {
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

void set_output(z_stream& stream, Bytes& piece) {
  stream.next_out = reinterpret_cast<Bytef*>(piece.data());
  stream.avail_out = static_cast<uInt>(piece.size());
}

ByteView output_of(const z_stream& stream, const Bytes& piece) {
  return ByteView(piece).first(piece.size() - stream.avail_out);
}

// What zlib counts with may be smaller than a piece that somebody has.
ByteView take_part(ByteView& bytes) {
  const ByteView part =
      bytes.first(std::min<std::size_t>(bytes.size(), std::numeric_limits<uInt>::max()));
  bytes = bytes.subspan(part.size());
  return part;
}

class GzipPacker final : public StreamPacker {
 public:
  GzipPacker() = default;
  ~GzipPacker() override { ::deflateEnd(&stream_); }
  GzipPacker(const GzipPacker&) = delete;
  GzipPacker& operator=(const GzipPacker&) = delete;

  bool begin(int level) {
    return ::deflateInit2(&stream_, level, Z_DEFLATED, gzip_window_bits, usual_memory_level,
                          Z_DEFAULT_STRATEGY) == Z_OK;
  }

  Status pack(ByteView plain, const PieceSink& sink) override {
    while (!plain.empty()) ICBD_TRY(run(take_part(plain), Z_NO_FLUSH, sink));
    return {};
  }
  Status finish(const PieceSink& sink) override { return run({}, Z_FINISH, sink); }

 private:
  Status run(ByteView plain, int flush, const PieceSink& sink) {
    set_input(stream_, plain);
    do {
      set_output(stream_, piece_);
      if (::deflate(&stream_, flush) == Z_STREAM_ERROR)
        return fail(ErrorCode::internal, "zlib cannot pack");
      const ByteView made = output_of(stream_, piece_);
      if (!made.empty()) ICBD_TRY(sink(made));
    } while (stream_.avail_out == 0);
    return {};
  }

  z_stream stream_{};
  Bytes piece_ = Bytes(stream_piece);
};

class GzipUnpacker final : public StreamUnpacker {
 public:
  GzipUnpacker() = default;
  ~GzipUnpacker() override { ::inflateEnd(&stream_); }
  GzipUnpacker(const GzipUnpacker&) = delete;
  GzipUnpacker& operator=(const GzipUnpacker&) = delete;

  bool begin() { return ::inflateInit2(&stream_, gzip_window_bits) == Z_OK; }

  Status unpack(ByteView packed, const PieceSink& sink) override {
    while (!packed.empty()) {
      set_input(stream_, take_part(packed));
      do {
        ICBD_TRY(step(sink));
      } while (stream_.avail_in > 0 || stream_.avail_out == 0);
    }
    return {};
  }

  Status finish() override {
    if (!between_members_) return cut_short("gzip");
    return {};
  }

 private:
  Status step(const PieceSink& sink) {
    set_output(stream_, piece_);
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    // Z_BUF_ERROR: it needs more, and nothing is wrong.
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
      return fail(ErrorCode::corrupt,
                  fmt::format("gzip data do not unpack: {}",
                              stream_.msg == nullptr ? "damaged" : stream_.msg));
    const ByteView made = output_of(stream_, piece_);
    if (result != Z_BUF_ERROR) between_members_ = result == Z_STREAM_END;
    if (!made.empty()) ICBD_TRY(sink(made));
    if (result == Z_STREAM_END) {
      ::inflateReset(&stream_);
      stream_.avail_out = 1;  // not full: nothing is left to come out
    }
    return {};
  }

  z_stream stream_{};
  Bytes piece_ = Bytes(stream_piece);
  bool between_members_ = false;
};

}  // namespace

Result<std::unique_ptr<StreamPacker>> make_gzip_stream_packer(int level) {
  auto packer = std::make_unique<GzipPacker>();
  if (!packer->begin(level == 0 ? Z_DEFAULT_COMPRESSION : level))
    return fail(ErrorCode::internal, "zlib cannot begin to pack");
  return packer;
}

Result<std::unique_ptr<StreamUnpacker>> make_gzip_stream_unpacker() {
  auto unpacker = std::make_unique<GzipUnpacker>();
  if (!unpacker->begin()) return fail(ErrorCode::internal, "zlib cannot begin to unpack");
  return unpacker;
}

}  // namespace icbd::codec
