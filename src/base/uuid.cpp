#include "icbd/base/uuid.h"

#include <sys/random.h>

#include <cstdlib>

#include "hexadecimal.h"

namespace icbd {

std::string Uuid::to_string() const {
  std::string text = to_hexadecimal(bytes);
  for (const std::size_t position : {8u, 13u, 18u, 23u}) text.insert(position, 1, '-');
  return text;
}

Result<Uuid> Uuid::parse(std::string_view text) {
  Uuid uuid;
  std::string digits;
  bool well_formed = text.size() == 36;
  for (std::size_t i = 0; well_formed && i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) well_formed = false;
    if (!dash) digits += text[i];
  }
  if (!well_formed || !from_hexadecimal(digits, uuid.bytes))
    return fail(ErrorCode::invalid_argument, "not a UUID: \"" + std::string(text) + "\"");
  return uuid;
}

Uuid Uuid::random() {
  Uuid uuid;
  // 16 bytes never come short (getrandom(2)); it can only fail before the pool is seeded.
  if (getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) != static_cast<ssize_t>(uuid.bytes.size()))
    std::abort();
  uuid.bytes[6] = (uuid.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  uuid.bytes[8] = (uuid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid;
}

}  // namespace icbd
