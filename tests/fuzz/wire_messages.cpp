// Any bytes as the payload of any message: a decoder may refuse them, and nothing else. What one
// accepts must come back the same when it is encoded again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "icbd/wire/frame.h"

#include "messages.h"

namespace {

using namespace icbd;
using namespace icbd::wire;

void check(bool condition) {
  if (!condition) std::abort();
}

template <typename Decode>
void round_trip(ByteView payload, Decode decode) {
  const auto decoded = decode(payload);
  if (!decoded) return;
  const Bytes again = encode(*decoded);
  check(std::ranges::equal(again, payload));
}

void fuzz_hello(ByteView payload) {
  const auto hello = decode_hello(payload);
  if (hello && hello->protocol == protocol_version)
    check(std::ranges::equal(encode(*hello), payload));
}

void fuzz_frame_header(ByteView payload) {
  if (payload.size() < frame_header_size) return;
  const auto header = payload.first<frame_header_size>();
  const auto decoded = decode_frame_header(header);
  if (!decoded) return;
  check(decoded->payload_length <= limits::frame_payload);
  static_cast<void>(check_frame(header, payload.subspan(frame_header_size)));
}

void fuzz_extents_reply(ByteView payload) {
  const auto extents = decode_extents_reply(payload, nullptr);
  if (!extents) return;
  for (const source::ExtentData& data : *extents)
    check(data.data.size() == (data.all_zero ? 0 : data.extent.range.length));
}

void fuzz_encoded_reply(ByteView payload) {
  const auto extents = decode_encoded_reply(payload, nullptr);
  if (!extents) return;
  for (const source::EncodedExtent& extent : *extents) {
    check(extent.data.size() <= limits::extent_length);
    check(extent.unencoded_length <= limits::extent_length);
    check(extent.unencoded_offset + extent.range.length <= extent.unencoded_length);
  }
}

void fuzz_pages_reply(ByteView payload) {
  const auto pages = decode_pages_reply(payload, 3);
  if (pages) check(std::ranges::equal(encode_pages_reply(*pages), payload));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView input = std::as_bytes(std::span(data, size));
  const ByteView payload = input.subspan(1);
  switch (data[0] % 12) {
    case 0:
      fuzz_frame_header(payload);
      break;
    case 1:
      fuzz_hello(payload);
      break;
    case 2:
      round_trip(payload, decode_catalog_request);
      break;
    case 3:
      round_trip(payload, decode_catalog_reply);
      break;
    case 4:
      round_trip(payload, decode_shape_request);
      break;
    case 5:
      round_trip(payload, decode_shape_begin);
      break;
    case 6:
      round_trip(payload, decode_pages_request);
      round_trip(payload, decode_stream_request);
      break;
    case 7:
      fuzz_pages_reply(payload);
      break;
    case 8:
      round_trip(payload, decode_extents_request);
      break;
    case 9:
      fuzz_extents_reply(payload);
      break;
    case 11:
      fuzz_encoded_reply(payload);
      break;
    default:
      static_cast<void>(decode_error(payload));
      break;
  }
  return 0;
}
