#include "icbd/codec/stream.h"

#include <array>
#include <string_view>

#include "algorithms.h"
#include "streams.h"

namespace icbd::codec {
namespace {

using namespace std::string_view_literals;

struct Container {
  Algorithm algorithm;
  std::string_view magic;
};
// RFC 8878 3.1.1; LZ4 Frame format 1.6; RFC 1952 2.3.1; snappy's framing_format.txt 4.1.
constexpr std::array containers = {
    Container{Algorithm::zstd, "\x28\xb5\x2f\xfd"sv},
    Container{Algorithm::lz4, "\x04\x22\x4d\x18"sv},
    Container{Algorithm::zlib, "\x1f\x8b"sv},
    Container{Algorithm::snappy, "\xff\x06\x00\x00sNaPpY"sv},
};

class PlainPacker final : public StreamPacker {
  Status pack(ByteView plain, const PieceSink& sink) override { return sink(plain); }
  Status finish(const PieceSink& /*sink*/) override { return {}; }
};

class PlainUnpacker final : public StreamUnpacker {
  Status unpack(ByteView packed, const PieceSink& sink) override { return sink(packed); }
  Status finish() override { return {}; }
};

}  // namespace

Result<std::unique_ptr<StreamPacker>> make_stream_packer(Setting setting) {
  const Levels range = levels(setting.algorithm);
  if (setting.level != 0 && (setting.level < range.first || setting.level > range.last))
    return fail(ErrorCode::invalid_argument, std::string(to_string(setting.algorithm)) +
                                                 " has no level " + std::to_string(setting.level));
  switch (setting.algorithm) {
    case Algorithm::none:
      return std::make_unique<PlainPacker>();
    case Algorithm::lz4:
      return make_lz4_stream_packer(setting.level);
    case Algorithm::snappy:
      return make_snappy_stream_packer();
    case Algorithm::zlib:
      return make_gzip_stream_packer(setting.level);
    case Algorithm::zstd:
      return make_zstd_stream_packer(setting.level);
  }
  return fail(ErrorCode::unsupported, "an algorithm that is not known here");
}

Result<std::unique_ptr<StreamUnpacker>> make_stream_unpacker(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::none:
      return std::make_unique<PlainUnpacker>();
    case Algorithm::lz4:
      return make_lz4_stream_unpacker();
    case Algorithm::snappy:
      return make_snappy_stream_unpacker();
    case Algorithm::zlib:
      return make_gzip_stream_unpacker();
    case Algorithm::zstd:
      return make_zstd_stream_unpacker();
  }
  return fail(ErrorCode::unsupported, "an algorithm that is not known here");
}

Algorithm detect_container(ByteView beginning) {
  for (const Container& container : containers)
    if (as_text(beginning).starts_with(container.magic)) return container.algorithm;
  return Algorithm::none;
}

}  // namespace icbd::codec
