// The zlib format (RFC 1950), one stream per block, with its Adler-32.
#include <zlib.h>

#include "algorithms.h"

namespace icbd::codec {
namespace {

// zlib's interface is not const-correct; it only reads.
Bytef* input(ByteView bytes) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
}
Bytef* output(std::span<std::byte> bytes) {
  return reinterpret_cast<Bytef*>(bytes.data());
}

void set_buffers(z_stream& stream, ByteView from, std::span<std::byte> to) {
  stream.next_in = input(from);
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = output(to);
  stream.avail_out = static_cast<uInt>(to.size());
}

class ZlibCompressor final : public Compressor {
 public:
  explicit ZlibCompressor(int level)
      : begun_(deflateInit(&stream_, level == 0 ? Z_DEFAULT_COMPRESSION : level) == Z_OK) {}
  ~ZlibCompressor() override {
    if (begun_) deflateEnd(&stream_);
  }
  ZlibCompressor(const ZlibCompressor&) = delete;
  ZlibCompressor& operator=(const ZlibCompressor&) = delete;

  bool begun() const { return begun_; }

 private:
  Result<std::size_t> pack(ByteView plain, std::span<std::byte> room) override {
    if (deflateReset(&stream_) != Z_OK) return fail(ErrorCode::internal, "zlib cannot begin again");
    set_buffers(stream_, plain, room);
    // Anything else than the end of the stream: there was no room for all of it.
    if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) return 0;
    return room.size() - stream_.avail_out;
  }

  z_stream stream_{};
  bool begun_;
};

class ZlibDecompressor final : public Decompressor {
 public:
  ZlibDecompressor() : begun_(inflateInit(&stream_) == Z_OK) {}
  ~ZlibDecompressor() override {
    if (begun_) inflateEnd(&stream_);
  }
  ZlibDecompressor(const ZlibDecompressor&) = delete;
  ZlibDecompressor& operator=(const ZlibDecompressor&) = delete;

  bool begun() const { return begun_; }

 private:
  bool unpack(ByteView packed, std::span<std::byte> plain) override {
    if (inflateReset(&stream_) != Z_OK) return false;
    set_buffers(stream_, packed, plain);
    return inflate(&stream_, Z_FINISH) == Z_STREAM_END && stream_.avail_in == 0 &&
           stream_.avail_out == 0;
  }
  Algorithm algorithm() const override { return Algorithm::zlib; }

  z_stream stream_{};
  bool begun_;
};

}  // namespace

Result<std::unique_ptr<Compressor>> make_zlib_compressor(int level) {
  auto compressor = std::make_unique<ZlibCompressor>(level);
  if (!compressor->begun()) return fail(ErrorCode::internal, "zlib cannot begin to pack");
  return compressor;
}

Result<std::unique_ptr<Decompressor>> make_zlib_decompressor() {
  auto decompressor = std::make_unique<ZlibDecompressor>();
  if (!decompressor->begun()) return fail(ErrorCode::internal, "zlib cannot begin to unpack");
  return decompressor;
}

}  // namespace icbd::codec
