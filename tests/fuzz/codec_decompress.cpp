// Any bytes as a packed block: unpacked to just the length that was asked for, or refused; the same
// each time, whatever was unpacked before. What can be unpacked can be packed again.
//
// An input is the algorithm's byte, the plain length (u24), and the packed data.
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "icbd/base/limits.h"
#include "icbd/codec/codec.h"

namespace icbd::codec {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// One of each for all inputs: what an input leaves behind must not be seen by the next.
Decompressor& decompressor(Algorithm algorithm) {
  static std::array<std::unique_ptr<Decompressor>, 5> all;
  auto& one = all.at(static_cast<std::size_t>(algorithm));
  if (!one) one = std::move(make_decompressor(algorithm).value());
  return *one;
}

// Unpacks to a buffer of just the length: the address sanitizer sees a byte too many.
bool unpack(Decompressor& with, ByteView packed, Bytes& plain) {
  const Status status = with.decompress(packed, plain);
  require(status || status.error().code() == ErrorCode::corrupt ||
          status.error().code() == ErrorCode::too_large);
  return status.has_value();
}

void check_packed_again(Algorithm algorithm, const Bytes& plain) {
  Bytes packed;
  const auto smaller = make_compressor({algorithm, 0}).value()->compress(plain, packed);
  require(smaller.has_value());
  if (!*smaller) return;
  Bytes again(plain.size());
  require(unpack(decompressor(algorithm), packed, again) && again == plain);
}

void check(Algorithm algorithm, std::size_t length, ByteView packed) {
  Bytes plain(length), again(length);
  const bool unpacked = unpack(decompressor(algorithm), packed, plain);
  const auto fresh = make_decompressor(algorithm).value();
  require(unpack(*fresh, packed, again) == unpacked);
  if (!unpacked) return;
  require(plain == again);
  // A block of one byte more or less is another one.
  Bytes longer(length + 1);
  require(!unpack(decompressor(algorithm), packed, longer));
  check_packed_again(algorithm, plain);
}

}  // namespace
}  // namespace icbd::codec

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  icbd::ByteReader reader({reinterpret_cast<const std::byte*>(data), size});
  const auto algorithm = icbd::codec::parse_algorithm(reader.read<std::uint8_t>());
  const std::size_t low = reader.read<std::uint16_t>();
  const std::size_t length = low + (std::size_t{reader.read<std::uint8_t>()} << 16);
  if (!algorithm || reader.failed()) return 0;
  // Blocks over the limit are refused, one byte over it as well as many.
  icbd::codec::check(*algorithm, std::min(length, icbd::limits::frame_payload + 1),
                     reader.take(reader.remaining()));
  return 0;
}
