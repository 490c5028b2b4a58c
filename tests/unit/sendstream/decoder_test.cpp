#include "icbd/sendstream/decoder.h"

#include <gmock/gmock.h>

#include <cstring>

#include "icbd/base/limits.h"
#include "icbd/sendstream/encoder.h"

#include "sample_commands.h"
#include "streams.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr std::uint32_t version = wire::newest_version;

std::vector<std::string> dumps(const std::vector<Command>& commands) {
  std::vector<std::string> lines;
  for (const Command& command : commands) lines.push_back(dump(command));
  return lines;
}

// A command of any type with any attributes and a checksum that is right.
Bytes raw_command(std::uint16_t type, ByteView attributes) {
  ByteWriter writer;
  writer.write(static_cast<std::uint32_t>(attributes.size()));
  writer.write(type);
  writer.write(std::uint32_t{0});
  writer.write_bytes(attributes);
  Bytes command = writer.take();
  const std::uint32_t checksum = wire::checksum(command);
  std::memcpy(command.data() + 6, &checksum, sizeof checksum);
  return command;
}

TEST(Decoder, PiecesOfAnySizeGiveTheSameCommands) {
  const std::vector<Command> commands = sample_commands();
  const Bytes stream = encoded_stream(commands, version);
  for (const std::size_t piece_size : {1uz, 2uz, 7uz, 64uz, 1000uz, stream.size()}) {
    const Decoded decoded = decode_all(stream, piece_size);
    EXPECT_TRUE(decoded.status) << decoded.status.error().message();
    EXPECT_EQ(decoded.lines, dumps(commands)) << "pieces of " << piece_size;
  }
}

// Who reads just what is missing has read just the stream.
TEST(Decoder, SaysHowMuchItStillNeeds) {
  const std::vector<Command> commands = sample_commands();
  const Bytes stream = encoded_stream(commands, version);
  Decoder decoder;
  std::size_t position = 0, decoded = 0;
  while (const std::size_t missing = decoder.missing()) {
    ASSERT_LE(position + missing, stream.size());
    decoder.feed(ByteView(stream).subspan(position, missing));
    position += missing;
    const auto command = decoder.next();
    ASSERT_TRUE(command) << command.error().message();
    if (*command) ++decoded;
  }
  EXPECT_EQ(position, stream.size());
  EXPECT_EQ(decoded, commands.size());
}

TEST(Decoder, WhatFollowsTheEndIsThere) {
  const Bytes stream = encoded_stream({Unlink{"a"}, End{}}, 2);
  Decoder decoder;
  decoder.feed(joined({stream, to_bytes("next")}));
  while (!decoder.ended()) ASSERT_TRUE(decoder.next().value());
  EXPECT_EQ(as_text(decoder.rest()), "next");
}

TEST(Decoder, AWrongCommandCanBePassedOver) {
  Bytes stream = encoded_stream({Unlink{"good"}, Unlink{"wrong"}, Unlink{"after"}, End{}}, 2);
  stream[as_text(stream).find("wrong")] ^= std::byte{1};
  Decoder decoder;
  EXPECT_FALSE(decoder.pass_over()) << "nothing is wrong yet";
  decoder.feed(stream);
  ASSERT_TRUE(decoder.next().value());
  EXPECT_FALSE(decoder.next());
  EXPECT_TRUE(decoder.pass_over());
  const auto after = decoder.next();
  ASSERT_TRUE(after.has_value() && after->has_value());
  EXPECT_EQ(std::get<Unlink>(**after).path, "after");
  ASSERT_TRUE(decoder.next().value());
  EXPECT_TRUE(decoder.finish());
}

TEST(Decoder, WhereTheNextCommandBeginsMustBeKnown) {
  Decoder other;
  other.feed(to_bytes("this is something else"));
  EXPECT_FALSE(other.next());
  EXPECT_FALSE(other.pass_over());

  Bytes stream = encoded_stream({Unlink{"a"}, End{}}, 2);
  stream[wire::stream_header_size + 3] = std::byte{0x7f};  // of the length: 2 GiB
  Decoder endless;
  endless.feed(stream);
  EXPECT_FALSE(endless.next());
  EXPECT_FALSE(endless.pass_over());
}

TEST(Decoder, SaysWhatItHasRead) {
  const Bytes stream = encoded_stream({Unlink{"a"}, End{}}, 2);
  Decoder decoder;
  EXPECT_EQ(decoder.version(), 0u);
  decoder.feed(stream);
  ASSERT_TRUE(decoder.next().value());
  EXPECT_EQ(decoder.version(), 2u);
  EXPECT_FALSE(decoder.ended());
  ASSERT_TRUE(decoder.next().value());
  EXPECT_TRUE(decoder.ended());
  EXPECT_EQ(decoder.position(), stream.size());
  EXPECT_FALSE(decoder.next().value());
  EXPECT_TRUE(decoder.finish());
}

TEST(Decoder, AStreamCutAnywhereIsCorruptAndGivesOnlyWholeCommands) {
  const std::vector<Command> commands = sample_commands();
  const Bytes stream = encoded_stream(commands, version);
  const std::vector<std::string> all = dumps(commands);
  for (std::size_t length = 0; length < stream.size(); ++length) {
    const Decoded decoded = decode_all(ByteView(stream).first(length));
    ASSERT_FALSE(decoded.status) << length;
    EXPECT_EQ(decoded.status.error().code(), ErrorCode::corrupt);
    ASSERT_LT(decoded.lines.size(), all.size());
    EXPECT_TRUE(std::equal(decoded.lines.begin(), decoded.lines.end(), all.begin())) << length;
  }
}

TEST(Decoder, AFlippedBitNeverGivesAnotherCommand) {
  const std::vector<Command> commands = sample_commands();
  const std::vector<std::string> all = dumps(commands);
  Bytes stream = encoded_stream(commands, version);
  // The version's bits are left out: another version is another, valid stream.
  for (std::size_t bit = 0; bit < stream.size() * 8; ++bit) {
    const std::size_t byte = bit / 8;
    if (byte >= wire::magic.size() && byte < wire::stream_header_size) continue;
    const auto mask = static_cast<std::byte>(1u << (bit % 8));
    stream[byte] ^= mask;
    const Decoded decoded = decode_all(stream);
    stream[byte] ^= mask;
    ASSERT_FALSE(decoded.status) << "bit " << bit;
    ASSERT_LT(decoded.lines.size(), all.size());
    EXPECT_TRUE(std::equal(decoded.lines.begin(), decoded.lines.end(), all.begin())) << bit;
  }
}

TEST(Decoder, AnErrorIsFinalAndNamesByteAndCommand) {
  Bytes bad = encode(Unlink{"a"}, 2).value();
  bad.back() ^= std::byte{1};
  const Bytes good = encode(Unlink{"b"}, 2).value();
  const Bytes stream = joined({encode_header(2), good, bad});
  Decoder decoder;
  decoder.feed(stream);
  ASSERT_TRUE(decoder.next().value());
  const auto failed = decoder.next();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message(), HasSubstr("byte " + std::to_string(17 + good.size())));
  decoder.feed(good);
  EXPECT_EQ(decoder.next().error().message(), failed.error().message());
  EXPECT_EQ(decoder.finish().error().message(), failed.error().message());
}

TEST(Decoder, NoSendStream) {
  const Decoded decoded = decode_all(as_bytes("#!/bin/sh\n"));
  EXPECT_EQ(decoded.status.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(decoded.status.error().message(), HasSubstr("no BTRFS send stream"));
}

TEST(Decoder, UnknownVersionsAreUnsupported) {
  for (const std::uint32_t unknown : {0u, 4u, 0xffffffffu}) {
    const Decoded decoded = decode_all(encode_header(unknown));
    EXPECT_EQ(decoded.status.error().code(), ErrorCode::unsupported) << unknown;
  }
}

TEST(Decoder, UnknownCommandsAreUnsupported) {
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{0, 27, 65535}) {
    const Decoded decoded = decode_all(joined({encode_header(3), raw_command(type, {})}));
    EXPECT_EQ(decoded.status.error().code(), ErrorCode::unsupported) << type;
    EXPECT_THAT(decoded.status.error().message(), HasSubstr("command " + std::to_string(type)));
  }
}

TEST(Decoder, CommandsOfLaterVersionsAreUnsupported) {
  const Bytes fallocate = encode(Fallocate{"f", 3, {0, 4096}}, 2).value();
  EXPECT_EQ(decode_all(joined({encode_header(1), fallocate})).status.error().code(),
            ErrorCode::unsupported);
}

TEST(Decoder, AnAttributeProblemNamesTheCommand) {
  const Bytes stream = joined({encode_header(2), raw_command(11, {})});
  EXPECT_THAT(decode_all(stream).status.error().message(),
              testing::AllOf(HasSubstr("unlink"), HasSubstr("path is missing")));
}

TEST(Decoder, AnOverlongCommandIsRefusedBeforeItArrives) {
  ByteWriter header;
  header.write(static_cast<std::uint32_t>(limits::sendstream_command + 1));
  header.write(std::uint16_t{15});
  header.write(std::uint32_t{0});
  Decoder decoder;
  decoder.feed(encode_header(2));
  decoder.feed(header.view());
  EXPECT_EQ(decoder.next().error().code(), ErrorCode::corrupt);
}

TEST(Decoder, BytesAfterTheEndAreAnError) {
  const Bytes stream = encoded_stream({End{}}, 2);
  const Bytes another = encoded_stream({Subvolume{"x", sample_uuid(1), 1}, End{}}, 2);
  EXPECT_THAT(decode_all(joined({stream, another})).status.error().message(),
              HasSubstr("after the end"));
  // Also when nobody asks for another command.
  Decoder decoder;
  decoder.feed(joined({stream, Bytes(1)}));
  ASSERT_TRUE(decoder.next().value());
  EXPECT_EQ(decoder.finish().error().code(), ErrorCode::corrupt);
}

// The one thing that tells a stream of version 1 from one of version 3 if the header is damaged.
TEST(Decoder, TheTimeOfCreationIsNotInVersion1AndAlwaysInVersion3) {
  const SetTimes without{"f", {1, 2}, {3, 4}, {5, 6}};
  SetTimes with = without;
  with.created = Timestamp{7, 8};
  const auto decode_in = [](std::uint32_t stream_version, const SetTimes& times) {
    // Version 2 has both forms.
    return decode_all(joined({encode_header(stream_version), encode(times, 2).value()}));
  };
  EXPECT_EQ(decode_in(1, without).lines, dumps({without}));
  EXPECT_EQ(decode_in(2, without).lines, dumps({without}));
  EXPECT_EQ(decode_in(2, with).lines, dumps({with}));
  EXPECT_EQ(decode_in(3, with).lines, dumps({with}));
  EXPECT_THAT(decode_in(1, with).status.error().message(), HasSubstr("created"));
  EXPECT_THAT(decode_in(3, without).status.error().message(), HasSubstr("created is missing"));
}

TEST(Decoder, AttributesOfOtherCommandsAreUnsupportedNotSkipped) {
  ByteWriter attributes;
  const Bytes unlink = encode(Unlink{"f"}, 2).value();
  attributes.write_bytes(ByteView(unlink).subspan(wire::command_header_size));
  attributes.write(static_cast<std::uint16_t>(wire::Attribute::uid));
  attributes.write(std::uint16_t{8});
  attributes.write(std::uint64_t{0});
  const Decoded decoded =
      decode_all(joined({encode_header(2), raw_command(11, attributes.view())}));
  EXPECT_EQ(decoded.status.error().code(), ErrorCode::unsupported);
  EXPECT_THAT(decoded.status.error().message(), HasSubstr("uid does not belong"));
}

}  // namespace
}  // namespace icbd::sendstream
