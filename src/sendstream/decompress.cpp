#include "icbd/sendstream/decompress.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "icbd/base/limits.h"

#include "lzo.h"

namespace icbd::sendstream {
namespace {

// Source: BTRFS_ENCODED_IO_COMPRESSION_* in linux/btrfs.h. LZO comes in five kinds, by the sector
// size of the filesystem that packed: 4 KiB, 8 KiB, … 64 KiB.
constexpr std::uint32_t compression_zlib = 1;
constexpr std::uint32_t compression_zstd = 2;
constexpr std::uint32_t compression_lzo_first = 3;
constexpr std::uint32_t compression_lzo_last = 7;
constexpr std::size_t lzo_smallest_sector = 4096;

// The window of zstd on BTRFS (ZSTD_BTRFS_MAX_WINDOWLOG in fs/btrfs/zstd.c): 128 KiB.
constexpr int zstd_window_log = 17;

std::unexpected<Error> damaged(std::string_view algorithm) {
  return fail(ErrorCode::corrupt, fmt::format("the {} data do not unpack", algorithm));
}

// Like the others, returns how much of `output` it has filled.
Result<std::size_t> unpack_zlib(ByteView packed, std::span<std::byte> output) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return fail(ErrorCode::internal, "zlib cannot begin");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  // zlib's interface is not const-correct; it only reads.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = static_cast<uInt>(output.size());
  const int result = inflate(&stream, Z_SYNC_FLUSH);
  if (result == Z_STREAM_END ||
      ((result == Z_OK || result == Z_BUF_ERROR) && stream.avail_out == 0))
    return output.size() - stream.avail_out;
  return damaged("zlib");
}

}  // namespace

class ExtentDecompressor::Zstd {
 public:
  // False if the library cannot.
  bool begin() const {
    return context_ && ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                                                           zstd_window_log)) == 0;
  }

  Result<std::size_t> unpack(ByteView packed, std::span<std::byte> output) const {
    ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
    ZSTD_inBuffer in{.src = packed.data(), .size = packed.size(), .pos = 0};
    ZSTD_outBuffer out{.dst = output.data(), .size = output.size(), .pos = 0};
    // Ends with the frame: what follows are zeros up to the end of the sector.
    while (out.pos < out.size) {
      const std::size_t before = in.pos + out.pos;
      const std::size_t result = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(result) != 0) return damaged("zstd");
      if (result == 0) return out.pos;
      if (in.pos + out.pos == before) return damaged("zstd");
    }
    return out.pos;
  }

 private:
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(),
                                                                   ZSTD_freeDCtx};
};

ExtentDecompressor::ExtentDecompressor() = default;
ExtentDecompressor::~ExtentDecompressor() = default;

Status ExtentDecompressor::decompress(const EncodedWrite& command, std::span<std::byte> plain) {
  ICBD_TRY(check_encoding(command));
  if (plain.size() != command.unencoded_length)
    return fail(ErrorCode::invalid_argument, "there is room for another length than the extent's");
  ICBD_ASSIGN(const std::size_t filled, unpack(command, plain));
  std::ranges::fill(plain.subspan(filled), std::byte{0});  // data may unpack to less
  return {};
}

Result<std::size_t> ExtentDecompressor::unpack(const EncodedWrite& command,
                                               std::span<std::byte> plain) {
  if (command.compression == compression_zlib) return unpack_zlib(command.data, plain);
  if (command.compression == compression_zstd) {
    if (!zstd_) {
      auto made = std::make_unique<Zstd>();
      if (!made->begin()) return fail(ErrorCode::internal, "zstd cannot begin");
      zstd_ = std::move(made);
    }
    return zstd_->unpack(command.data, plain);
  }
  const std::size_t sector = lzo_smallest_sector << (command.compression - compression_lzo_first);
  return unpack_lzo_extent(command.data, sector, plain);
}

Status check_encoding(const EncodedWrite& command) {
  if (command.encryption.value_or(0) != 0)
    return fail(ErrorCode::unsupported, fmt::format("encryption {}", *command.encryption));
  if (command.compression < compression_zlib || command.compression > compression_lzo_last)
    return fail(ErrorCode::unsupported, fmt::format("compression {}", command.compression));
  if (command.unencoded_length > limits::extent_length)
    return fail(ErrorCode::too_large, fmt::format("{} bytes when unpacked; the limit is {}",
                                                  command.unencoded_length, limits::extent_length));
  const bool fits =
      command.unencoded_offset < command.unencoded_length && command.unencoded_file_length > 0 &&
      command.unencoded_file_length <= command.unencoded_length - command.unencoded_offset;
  if (!fits || command.data.empty() || command.data.size() > limits::extent_length)
    return fail(ErrorCode::corrupt, "the lengths of the compressed data do not fit one another");
  return {};
}

Result<Bytes> decompress(const EncodedWrite& command) {
  ICBD_TRY(check_encoding(command));
  Bytes plain(command.unencoded_length);
  ICBD_TRY(ExtentDecompressor().decompress(command, plain));
  const auto first = plain.begin() + static_cast<std::ptrdiff_t>(command.unencoded_offset);
  const auto length = static_cast<std::ptrdiff_t>(command.unencoded_file_length);
  return Bytes(first, first + length);
}

}  // namespace icbd::sendstream
