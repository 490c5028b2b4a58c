// Frames: what the data service's TCP connections carry.
//
// Purpose: a fixed little-endian header of 32 bytes, then the payload:
//
//   u32 magic "icbd"   u16 type   u8 codec   u8 flags   u32 payload length   u32 plain length
//   u32 request id     u32 sequence          u64 XXH3-64 of the header (this field 0) and payload
//
// `sequence` counts the frames of one direction of one connection from 0: a lost, repeated or
// foreign frame is noticed. `plain length` is that of the payload unpacked (see codec.h); both are
// held against limits::frame_payload before anything is allocated, and a packed payload is shorter.
// A reply of one type may span several frames: all but the last carry flag_more.
// Pure: bytes in, values out.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/limits.h"

namespace icbd::wire {

inline constexpr std::uint32_t frame_magic = 0x64626369;  // "icbd" in memory
inline constexpr std::size_t frame_header_size = 32;
inline constexpr std::uint16_t protocol_version = 4;

enum class FrameType : std::uint16_t {
  hello = 1,
  hello_reply = 2,
  catalog = 3,
  catalog_reply = 4,
  shape = 5,
  shape_begin = 6,
  shape_data = 7,
  shape_end = 8,
  pages = 9,
  pages_reply = 10,
  extents = 11,
  extents_reply = 12,
  extents_end = 13,
  error = 14,  // answers a request in place of its reply
  stream = 15,
  stream_data = 16,
  stream_end = 17,
  encoded_reply = 18,  // of a request for extents, beside extents_reply
};

// Bits of FrameHeader::flags.
inline constexpr std::uint8_t flag_more = 1;  // the reply goes on in another frame

struct FrameHeader {
  FrameType type{};
  std::uint8_t codec = 0;  // codec::Algorithm; 0: none
  std::uint8_t flags = 0;
  std::uint32_t payload_length = 0;
  std::uint32_t plain_length = 0;
  std::uint32_t request_id = 0;
  std::uint32_t sequence = 0;
};

// The header with its checksum over header and payload. The payload may lie in several pieces;
// its length is taken from it, and so is the plain length unless it is packed.
std::array<std::byte, frame_header_size> encode_frame_header(const FrameHeader& header,
                                                             std::span<const ByteView> payload);
std::array<std::byte, frame_header_size> encode_frame_header(const FrameHeader& header,
                                                             ByteView payload);
// Checks magic, type, codec, flags and lengths. The checksum needs the payload: check_frame.
Result<FrameHeader> decode_frame_header(std::span<const std::byte, frame_header_size> bytes);
Status check_frame(std::span<const std::byte, frame_header_size> header, ByteView payload);

// True if no frame of the same request follows this one from the side that answers.
bool ends_reply(const FrameHeader& header);

}  // namespace icbd::wire
