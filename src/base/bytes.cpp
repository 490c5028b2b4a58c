#include "icbd/base/bytes.h"

namespace icbd {

ByteView ByteReader::take(std::size_t length) {
  if (failed_ || length > rest_.size()) {
    failed_ = true;
    return {};
  }
  const ByteView field = rest_.first(length);
  rest_ = rest_.subspan(length);
  return field;
}

ByteView ByteReader::take_sized(std::size_t limit) {
  const auto length = read<std::uint32_t>();
  if (length > limit) {
    failed_ = true;
    return {};
  }
  return take(length);
}

Digest ByteReader::read_digest() {
  Digest digest;
  if (const ByteView field = take(digest.bytes.size()); !failed_)
    std::memcpy(digest.bytes.data(), field.data(), field.size());
  return digest;
}

Uuid ByteReader::read_uuid() {
  Uuid uuid;
  if (const ByteView field = take(uuid.bytes.size()); !failed_)
    std::memcpy(uuid.bytes.data(), field.data(), field.size());
  return uuid;
}

void ByteWriter::write_sized(ByteView bytes) {
  write(static_cast<std::uint32_t>(bytes.size()));
  write_bytes(bytes);
}

}  // namespace icbd
