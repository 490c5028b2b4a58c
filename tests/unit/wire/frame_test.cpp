#include "icbd/wire/frame.h"

#include <gtest/gtest.h>

#include "sockets.h"

namespace icbd::wire {
namespace {

using Encoded = std::array<std::byte, frame_header_size>;

Encoded encode_sample(ByteView payload) {
  return encode_frame_header({.type = FrameType::extents_reply, .request_id = 7, .sequence = 3},
                             payload);
}

template <typename Number>
void overwrite(Encoded& header, std::size_t offset, Number value) {
  std::memcpy(header.data() + offset, &value, sizeof value);
}

TEST(Frame, HeaderComesBackAsItWas) {
  const Bytes payload = testing::copy_of("some payload");
  const Encoded encoded = encode_frame_header({.type = FrameType::pages_reply,
                                               .flags = flag_more,
                                               .request_id = 0x01020304,
                                               .sequence = 42},
                                              payload);
  const auto header = decode_frame_header(encoded);
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->type, FrameType::pages_reply);
  EXPECT_EQ(header->flags, flag_more);
  EXPECT_EQ(header->codec, 0);
  EXPECT_EQ(header->payload_length, payload.size());
  EXPECT_EQ(header->plain_length, payload.size());
  EXPECT_EQ(header->request_id, 0x01020304u);
  EXPECT_EQ(header->sequence, 42u);
  EXPECT_TRUE(check_frame(encoded, payload));
}

TEST(Frame, BeginsWithTheWordIcbd) {
  EXPECT_EQ(as_text(ByteView(encode_sample({})).first(4)), "icbd");
}

TEST(Frame, ChecksumDoesNotDependOnHowThePayloadIsCut) {
  const Bytes payload = testing::copy_of("one two three");
  const ByteView whole = payload;
  const std::array pieces = {whole.first(4), ByteView{}, whole.subspan(4)};
  EXPECT_EQ(encode_frame_header({.type = FrameType::shape_data}, pieces),
            encode_frame_header({.type = FrameType::shape_data}, whole));
}

TEST(Frame, EveryChangedBitIsNoticed) {
  const Bytes payload = testing::copy_of("payload");
  const Encoded encoded = encode_sample(payload);
  for (std::size_t bit = 0; bit < encoded.size() * 8; ++bit) {
    Encoded changed = encoded;
    changed[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    EXPECT_FALSE(decode_frame_header(changed) && check_frame(changed, payload)) << "bit " << bit;
  }
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    Bytes changed = payload;
    changed[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    EXPECT_FALSE(check_frame(encoded, changed)) << "bit " << bit;
  }
}

TEST(Frame, RefusesAForeignBeginning) {
  Encoded encoded = encode_sample({});
  std::memcpy(encoded.data(), "GET ", 4);
  const auto header = decode_frame_header(encoded);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code(), ErrorCode::corrupt);
  EXPECT_NE(header.error().message().find("not an icbd data service"), std::string::npos);
}

TEST(Frame, RefusesUnknownTypes) {
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{0, 19, 65535}) {
    Encoded encoded = encode_sample({});
    overwrite(encoded, 4, type);
    EXPECT_FALSE(decode_frame_header(encoded)) << type;
  }
}

TEST(Frame, RefusesLengthsOverTheLimit) {
  for (const std::size_t offset : {8u, 12u}) {  // payload length, plain length
    for (const std::uint32_t length :
         {static_cast<std::uint32_t>(limits::frame_payload + 1), 0xFFFFFFFFu}) {
      Encoded encoded = encode_sample({});
      overwrite(encoded, offset, length);
      const auto header = decode_frame_header(encoded);
      ASSERT_FALSE(header) << offset << " " << length;
      EXPECT_EQ(header.error().code(), ErrorCode::corrupt);
    }
  }
}

TEST(Frame, RefusesCodecsThatItDoesNotKnow) {
  Encoded encoded = encode_sample({});
  overwrite(encoded, 6, std::uint8_t{200});
  const auto header = decode_frame_header(encoded);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code(), ErrorCode::unsupported);
}

TEST(Frame, APackedPayloadIsShorterThanItsPlainLength) {
  const Bytes payload = testing::copy_of("packed");
  const auto encode = [&](std::uint32_t plain_length) {
    return decode_frame_header(encode_frame_header(
        {.type = FrameType::extents_reply, .codec = 1, .plain_length = plain_length}, payload));
  };
  const auto header = encode(100);
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->codec, 1);
  EXPECT_EQ(header->payload_length, payload.size());
  EXPECT_EQ(header->plain_length, 100u);
  EXPECT_FALSE(encode(static_cast<std::uint32_t>(payload.size())));
  EXPECT_FALSE(encode(limits::frame_payload + 1));
}

TEST(Frame, RefusesUnknownFlags) {
  Encoded encoded = encode_sample({});
  overwrite(encoded, 7, std::uint8_t{2});
  EXPECT_FALSE(decode_frame_header(encoded));
}

TEST(Frame, KnowsWhichFramesEndAReply) {
  EXPECT_TRUE(ends_reply({.type = FrameType::extents_end}));
  EXPECT_TRUE(ends_reply({.type = FrameType::error}));
  EXPECT_TRUE(ends_reply({.type = FrameType::catalog_reply}));
  EXPECT_FALSE(ends_reply({.type = FrameType::catalog_reply, .flags = flag_more}));
  EXPECT_FALSE(ends_reply({.type = FrameType::extents_reply}));
  EXPECT_FALSE(ends_reply({.type = FrameType::shape_data}));
}

}  // namespace
}  // namespace icbd::wire
