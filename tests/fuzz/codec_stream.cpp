// Any bytes as a packed stream: unpacked or refused, and the same whatever pieces it comes in. What
// can be unpacked can be packed again.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "icbd/codec/stream.h"

namespace icbd::codec {
namespace {

// A few bytes may stand for very many.
constexpr std::size_t enough = std::size_t{4} << 20;

void require(bool condition) {
  if (!condition) std::abort();
}

Result<Bytes> unpack(Algorithm algorithm, ByteView packed, std::size_t piece_size) {
  Bytes plain;
  const auto unpacker = make_stream_unpacker(algorithm).value();
  const PieceSink sink = [&plain](ByteView piece) -> Status {
    if (plain.size() + piece.size() > enough) return fail(ErrorCode::too_large, "enough");
    plain.insert(plain.end(), piece.begin(), piece.end());
    return {};
  };
  while (!packed.empty()) {
    const ByteView piece = packed.first(std::min(piece_size, packed.size()));
    packed = packed.subspan(piece.size());
    ICBD_TRY(unpacker->unpack(piece, sink));
  }
  ICBD_TRY(unpacker->finish());
  return plain;
}

void check(ByteView input) {
  const Algorithm algorithm = detect_container(input);
  if (algorithm == Algorithm::none) return;
  const auto plain = unpack(algorithm, input, input.size());
  for (const std::size_t piece_size : {std::size_t{1}, std::size_t{13}, std::size_t{1000}}) {
    const auto again = unpack(algorithm, input, piece_size);
    require(again.has_value() == plain.has_value());
    require(!plain || *again == *plain);
  }
  if (!plain) return;
  Bytes packed;
  const PieceSink sink = [&packed](ByteView piece) -> Status {
    packed.insert(packed.end(), piece.begin(), piece.end());
    return {};
  };
  const auto packer = make_stream_packer({.algorithm = algorithm}).value();
  require(packer->pack(*plain, sink).has_value() && packer->finish(sink).has_value());
  require(unpack(algorithm, packed, packed.size()).value() == *plain);
}

}  // namespace
}  // namespace icbd::codec

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  icbd::codec::check({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
