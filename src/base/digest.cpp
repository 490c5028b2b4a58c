#include "icbd/base/digest.h"

#include <openssl/sha.h>

#include <vector>

#include "icbd/base/limits.h"

#include "hexadecimal.h"

namespace icbd {

std::string Digest::to_string() const {
  return to_hexadecimal(bytes);
}

Result<Digest> Digest::parse(std::string_view hexadecimal) {
  Digest digest;
  if (!from_hexadecimal(hexadecimal, digest.bytes))
    return fail(ErrorCode::invalid_argument,
                "a digest is 64 hexadecimal digits, not \"" + std::string(hexadecimal) + "\"");
  return digest;
}

Digest sha256(std::span<const std::byte> data) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(),
         reinterpret_cast<unsigned char*>(digest.bytes.data()));
  return digest;
}

Digest sha256_of_zeros(std::size_t length) {
  static const std::vector<std::byte> zeros(limits::chunk_size);
  static const Digest full_chunk = sha256(zeros);
  return length == zeros.size() ? full_chunk : sha256(std::span(zeros).first(length));
}

}  // namespace icbd
