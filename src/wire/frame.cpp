#include "icbd/wire/frame.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/fingerprint.h"
#include "icbd/codec/codec.h"

namespace icbd::wire {
namespace {

constexpr std::size_t checksum_offset = frame_header_size - sizeof(std::uint64_t);

// Over the header without its checksum field (as zeros) and the payload.
std::uint64_t checksum(std::span<const std::byte, frame_header_size> header,
                       std::span<const ByteView> payload) {
  std::array<std::byte, frame_header_size> cleared{};
  std::ranges::copy(header.first<checksum_offset>(), cleared.begin());
  FingerprintOfPieces sum;
  sum.add(cleared);
  for (const ByteView piece : payload) sum.add(piece);
  return sum.value().value();
}

bool is_known(std::uint16_t type) {
  return type >= static_cast<std::uint16_t>(FrameType::hello) &&
         type <= static_cast<std::uint16_t>(FrameType::encoded_reply);
}

}  // namespace

std::array<std::byte, frame_header_size> encode_frame_header(const FrameHeader& header,
                                                             std::span<const ByteView> payload) {
  std::size_t length = 0;
  for (const ByteView piece : payload) length += piece.size();
  ByteWriter writer;
  writer.write(frame_magic);
  writer.write(static_cast<std::uint16_t>(header.type));
  writer.write(header.codec);
  writer.write(header.flags);
  writer.write(static_cast<std::uint32_t>(length));
  writer.write(header.codec == 0 ? static_cast<std::uint32_t>(length) : header.plain_length);
  writer.write(header.request_id);
  writer.write(header.sequence);
  writer.write(std::uint64_t{0});
  std::array<std::byte, frame_header_size> bytes{};
  std::ranges::copy(writer.view(), bytes.begin());
  const std::uint64_t sum = checksum(bytes, payload);
  std::memcpy(bytes.data() + checksum_offset, &sum, sizeof sum);
  return bytes;
}

std::array<std::byte, frame_header_size> encode_frame_header(const FrameHeader& header,
                                                             ByteView payload) {
  return encode_frame_header(header, std::span<const ByteView>(&payload, 1));
}

Result<FrameHeader> decode_frame_header(std::span<const std::byte, frame_header_size> bytes) {
  ByteReader reader(bytes);
  if (const auto magic = reader.read<std::uint32_t>(); magic != frame_magic)
    return fail(ErrorCode::corrupt,
                fmt::format("a frame begins with {:#010x}, not with \"icbd\": the peer is not an "
                            "icbd data service, or bytes were lost",
                            magic));
  const auto type = reader.read<std::uint16_t>();
  if (!is_known(type))
    return fail(ErrorCode::corrupt, fmt::format("a frame has the unknown type {}", type));
  FrameHeader header;
  header.type = static_cast<FrameType>(type);
  header.codec = reader.read<std::uint8_t>();
  header.flags = reader.read<std::uint8_t>();
  header.payload_length = reader.read<std::uint32_t>();
  header.plain_length = reader.read<std::uint32_t>();
  header.request_id = reader.read<std::uint32_t>();
  header.sequence = reader.read<std::uint32_t>();
  if (const std::uint32_t length = std::max(header.payload_length, header.plain_length);
      length > limits::frame_payload)
    return fail(ErrorCode::corrupt, fmt::format("a frame claims {} bytes, more than the {} allowed",
                                                length, limits::frame_payload));
  ICBD_TRY(codec::parse_algorithm(header.codec));
  if (header.codec == 0 && header.plain_length != header.payload_length)
    return fail(ErrorCode::corrupt, "a plain frame has two different lengths");
  if (header.codec != 0 && header.payload_length >= header.plain_length)
    return fail(ErrorCode::corrupt, "a packed frame is no shorter than what it holds");
  if ((header.flags & ~flag_more) != 0)
    return fail(ErrorCode::corrupt, fmt::format("a frame has unknown flags ({:#x})", header.flags));
  return header;
}

Status check_frame(std::span<const std::byte, frame_header_size> header, ByteView payload) {
  std::uint64_t stated;
  std::memcpy(&stated, header.data() + checksum_offset, sizeof stated);
  if (stated != checksum(header, std::span<const ByteView>(&payload, 1)))
    return fail(ErrorCode::corrupt,
                fmt::format("the checksum of a frame of {} bytes does not match: it was changed "
                            "on the way",
                            payload.size()));
  return {};
}

bool ends_reply(const FrameHeader& header) {
  switch (header.type) {
    case FrameType::hello_reply:
    case FrameType::shape_end:
    case FrameType::extents_end:
    case FrameType::stream_end:
    case FrameType::error:
      return true;
    case FrameType::catalog_reply:
    case FrameType::pages_reply:
      return (header.flags & flag_more) == 0;
    default:
      return false;
  }
}

}  // namespace icbd::wire
