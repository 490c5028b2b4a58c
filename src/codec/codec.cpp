#include "icbd/codec/codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/limits.h"

#include "algorithms.h"

namespace icbd::codec {
namespace {

// Below this gain, the time for unpacking is worth more than the bytes.
constexpr std::size_t gain_divisor = 16;

std::unexpected<Error> too_large(std::size_t length, std::string_view what) {
  return fail(ErrorCode::too_large, fmt::format("a block of {} {} bytes; at most {}", length, what,
                                                limits::frame_payload));
}

class NoCompressor final : public Compressor {
  Result<std::size_t> pack(ByteView, std::span<std::byte>) override { return 0; }
};

class NoDecompressor final : public Decompressor {
  bool unpack(ByteView packed, std::span<std::byte> plain) override {
    if (packed.size() != plain.size()) return false;
    std::ranges::copy(packed, plain.begin());
    return true;
  }
  Algorithm algorithm() const override { return Algorithm::none; }
};

std::unexpected<Error> unknown(Algorithm algorithm) {
  return fail(ErrorCode::unsupported, fmt::format("codec {}", static_cast<unsigned>(algorithm)));
}

}  // namespace

Result<bool> Compressor::compress(ByteView plain, Bytes& packed) {
  packed.clear();
  if (plain.size() > limits::frame_payload) return too_large(plain.size(), "plain");
  const std::size_t gain = (plain.size() + gain_divisor - 1) / gain_divisor;
  if (plain.size() == gain) return false;
  packed.resize(plain.size() - gain);
  auto length = pack(plain, packed);
  packed.resize(length.value_or(0));
  if (!length) return std::unexpected(std::move(length).error());
  return *length > 0;
}

Status Decompressor::decompress(ByteView packed, std::span<std::byte> plain) {
  if (packed.size() > limits::frame_payload) return too_large(packed.size(), "packed");
  if (plain.size() > limits::frame_payload) return too_large(plain.size(), "plain");
  // No compressor of ours makes or packs an empty block.
  if (packed.empty() || plain.empty() || !unpack(packed, plain))
    return fail(ErrorCode::corrupt,
                fmt::format("{} bytes of {} data do not unpack to {} bytes", packed.size(),
                            to_string(algorithm()), plain.size()));
  return {};
}

Result<std::unique_ptr<Compressor>> make_compressor(Setting setting) {
  const Levels range = levels(setting.algorithm);
  if (setting.level != 0 && (setting.level < range.first || setting.level > range.last))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} has no level {}", to_string(setting.algorithm), setting.level));
  switch (setting.algorithm) {
    case Algorithm::none:
      return std::make_unique<NoCompressor>();
    case Algorithm::lz4:
      return make_lz4_compressor(setting.level);
    case Algorithm::snappy:
      return make_snappy_compressor();
    case Algorithm::zlib:
      return make_zlib_compressor(setting.level);
    case Algorithm::zstd:
      return make_zstd_compressor(setting.level);
  }
  return unknown(setting.algorithm);
}

Result<std::unique_ptr<Decompressor>> make_decompressor(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::none:
      return std::make_unique<NoDecompressor>();
    case Algorithm::lz4:
      return make_lz4_decompressor();
    case Algorithm::snappy:
      return make_snappy_decompressor();
    case Algorithm::zlib:
      return make_zlib_decompressor();
    case Algorithm::zstd:
      return make_zstd_decompressor();
  }
  return unknown(algorithm);
}

}  // namespace icbd::codec
