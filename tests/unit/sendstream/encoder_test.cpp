#include "icbd/sendstream/encoder.h"

#include <gmock/gmock.h>

#include "icbd/base/limits.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"

#include "sample_commands.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

template <typename T>
ByteView payload(const T& command) {
  if constexpr (requires { command.data; }) return command.data;
  if constexpr (requires { command.value; }) return command.value;
  if constexpr (requires { command.signature; }) return command.signature;
  return {};
}

// What dump() says of a command and the bytes that it gives by length only.
std::pair<std::string, std::string> everything(const Command& command) {
  const ByteView bytes = std::visit([](const auto& c) { return payload(c); }, command);
  return {dump(command), std::string(as_text(bytes))};
}

class EncoderVersions : public testing::TestWithParam<std::uint32_t> {};

TEST_P(EncoderVersions, WhatIsEncodedDecodesToTheSame) {
  const std::uint32_t version = GetParam();
  for (const Command& command : sample_commands()) {
    if (wire::info(command).since_version > version) continue;
    SCOPED_TRACE(dump(command));
    Decoder decoder;
    decoder.feed(encode_header(version));
    decoder.feed(encode(command, version).value());
    const auto decoded = decoder.next();
    ASSERT_TRUE(decoded) << decoded.error().message();
    ASSERT_TRUE(*decoded);
    EXPECT_EQ(everything(**decoded), everything(command));
  }
}

TEST_P(EncoderVersions, CommandsOfLaterVersionsAreUnsupported) {
  const std::uint32_t version = GetParam();
  for (const Command& command : sample_commands()) {
    const auto encoded = encode(command, version);
    EXPECT_EQ(encoded.has_value(), wire::info(command).since_version <= version) << dump(command);
    if (!encoded) {
      EXPECT_EQ(encoded.error().code(), ErrorCode::unsupported);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllVersions, EncoderVersions, testing::Values(1, 2, 3));

TEST(Encoder, VersionsThatDoNotExistAreUnsupported) {
  EXPECT_EQ(encode(End{}, 0).error().code(), ErrorCode::unsupported);
  EXPECT_EQ(encode(End{}, 4).error().code(), ErrorCode::unsupported);
}

TEST(Encoder, DataIsBoundedByTheLengthFieldInVersion1AndByTheCommandInVersion2) {
  const Bytes at_most_v1(65535), more(65536), whole(limits::sendstream_command);
  EXPECT_TRUE(encode(Write{"f", 0, at_most_v1}, 1));
  EXPECT_EQ(encode(Write{"f", 0, more}, 1).error().code(), ErrorCode::too_large);
  EXPECT_TRUE(encode(Write{"f", 0, more}, 2));
  EXPECT_EQ(encode(Write{"f", 0, whole}, 2).error().code(), ErrorCode::too_large);
}

TEST(Encoder, OverlongTextIsTooLarge) {
  const std::string path(limits::path_length + 1, 'p'), name(limits::xattr_name_length + 1, 'n');
  EXPECT_EQ(encode(Unlink{path}, 2).error().code(), ErrorCode::too_large);
  EXPECT_EQ(encode(RemoveXattr{"file", name}, 2).error().code(), ErrorCode::too_large);
  EXPECT_THAT(encode(Unlink{path}, 2).error().message(), testing::HasSubstr("unlink"));
}

}  // namespace
}  // namespace icbd::sendstream
