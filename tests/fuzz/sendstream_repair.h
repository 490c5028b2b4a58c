// Gives the commands of a broken stream the checksums that they should have.
//
// Nearly every stream that a fuzzer makes up fails at the first checksum; what lies behind it
// would never be tried.
#pragma once

#include <cstring>

#include "icbd/base/bytes.h"

#include "wire.h"

namespace icbd::sendstream {

inline Bytes repair_checksums(ByteView stream) {
  constexpr std::size_t checksum_offset = 6;
  Bytes repaired(stream.begin(), stream.end());
  std::size_t position = wire::stream_header_size;
  while (position + wire::command_header_size <= repaired.size()) {
    const std::span<std::byte> rest = std::span(repaired).subspan(position);
    const std::size_t size = wire::command_header_size + ByteReader(rest).read<std::uint32_t>();
    if (size > rest.size()) break;
    const std::uint32_t checksum = wire::checksum(rest.first(size));
    std::memcpy(rest.data() + checksum_offset, &checksum, sizeof checksum);
    position += size;
  }
  return repaired;
}

}  // namespace icbd::sendstream
