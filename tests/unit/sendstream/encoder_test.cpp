#include "icbd/sendstream/encoder.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <random>
#include <set>

#include "icbd/base/limits.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/dump.h"

#include "random_commands.h"
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

// The command as a stream of this version can say it.
Command in_version(Command command, std::uint32_t version) {
  if (auto* times = std::get_if<SetTimes>(&command); times && version == 1) times->created.reset();
  return command;
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
    EXPECT_EQ(everything(**decoded), everything(in_version(command, version)));
  }
}

TEST_P(EncoderVersions, RandomCommandsSurviveEncodingAndDecoding) {
  const std::uint32_t version = GetParam();
  const char* given = std::getenv("ICBD_TEST_SEED");
  const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  RandomCommands commands(seed);
  Decoder decoder;
  decoder.feed(encode_header(version));
  std::set<std::string> kinds;
  for (int i = 0; i < 2000; ++i) {
    const Command command = commands.make();
    if (wire::info(command).since_version > version || std::holds_alternative<End>(command))
      continue;
    const auto encoded = encode(command, version);
    ASSERT_TRUE(encoded) << dump(command) << ": " << encoded.error().message();
    decoder.feed(*encoded);
    const auto decoded = decoder.next();
    ASSERT_TRUE(decoded) << dump(command) << ": " << decoded.error().message();
    ASSERT_TRUE(*decoded);
    ASSERT_EQ(everything(**decoded), everything(in_version(command, version)));
    ASSERT_EQ(encode(**decoded, version).value(), *encoded);
    kinds.insert(command_name(command));
  }
  const auto of_version = std::ranges::count_if(
      wire::commands, [&](const auto& info) { return info.since_version <= version; });
  EXPECT_EQ(kinds.size() + 1, static_cast<std::size_t>(of_version)) << "all but end";
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
