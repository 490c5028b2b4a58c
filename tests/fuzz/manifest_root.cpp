// Any bytes as a manifest's root: refused, or the one encoding of what was decoded.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "icbd/manifest/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const icbd::ByteView input = std::as_bytes(std::span(data, size));
  const auto decoded = icbd::manifest::decode_root(input);
  if (!decoded) {
    if (decoded.error().code() != icbd::ErrorCode::corrupt) std::abort();
    return 0;
  }
  const icbd::Bytes again = icbd::manifest::encode_root(*decoded);
  if (!std::ranges::equal(again, input)) std::abort();
  return 0;
}
