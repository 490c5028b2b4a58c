// Any compressed data: unpacked to just what the command says, or refused; the same each time.
#include <cstdint>
#include <cstdlib>

#include "icbd/base/limits.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/decompress.h"

#include "sendstream_repair.h"

namespace icbd::sendstream {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const EncodedWrite& write) {
  const auto plain = decompress(write);
  if (!plain) return;
  require(check_encoding(write).has_value());
  require(plain->size() == write.unencoded_file_length);
  require(plain->size() <= limits::extent_length);
  require(*decompress(write) == *plain);
}

// The extents of a stream, with whatever lengths they say.
void check_stream(ByteView stream) {
  Decoder decoder;
  decoder.feed(stream);
  for (;;) {
    const auto command = decoder.next();
    if (!command || !*command) return;
    if (const auto* write = std::get_if<EncodedWrite>(&**command)) check(*write);
  }
}

// The bytes themselves as an extent, of each kind.
void check_extent(ByteView data) {
  for (std::uint32_t compression = 1; compression <= 7; ++compression)
    check({.path = {},
           .offset = 0,
           .unencoded_file_length = 70'000,
           .unencoded_length = limits::extent_length,
           .unencoded_offset = 1000,
           .compression = compression,
           .encryption = {},
           .data = data});
}

}  // namespace
}  // namespace icbd::sendstream

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const icbd::ByteView bytes{reinterpret_cast<const std::byte*>(data), size};
  icbd::sendstream::check_stream(icbd::sendstream::repair_checksums(bytes));
  icbd::sendstream::check_extent(bytes);
  return 0;
}
