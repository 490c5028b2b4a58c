#include "icbd/base/bytes.h"

#include <gtest/gtest.h>

namespace icbd {
namespace {

TEST(Bytes, AreReadAsTheyWereWritten) {
  const Digest digest = sha256(as_bytes("x"));
  const Uuid uuid = Uuid::random();
  ByteWriter writer;
  writer.write(std::uint8_t{0xfe});
  writer.write(std::int64_t{-2});
  writer.write_text("text");
  writer.write_digest(digest);
  writer.write_uuid(uuid);
  writer.write_bytes(as_bytes("end"));
  EXPECT_EQ(writer.size(), writer.view().size());
  ByteReader reader(writer.view());
  EXPECT_EQ(reader.read<std::uint8_t>(), 0xfe);
  EXPECT_EQ(reader.read<std::int64_t>(), -2);
  EXPECT_EQ(reader.read_text(4), "text");
  EXPECT_EQ(reader.read_digest(), digest);
  EXPECT_EQ(reader.read_uuid(), uuid);
  EXPECT_EQ(as_text(reader.take(3)), "end");
  EXPECT_TRUE(reader.complete());
}

TEST(Bytes, AreLittleEndian) {
  ByteWriter writer;
  writer.write(std::uint32_t{0x04030201});
  const Bytes expected = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  EXPECT_EQ(writer.take(), expected);
}

TEST(ByteReader, FailsOnTheFirstShortReadAndStaysFailed) {
  const Bytes data(5, std::byte{0xff});
  ByteReader reader(data);
  EXPECT_EQ(reader.read<std::uint32_t>(), 0xffffffff);
  EXPECT_EQ(reader.remaining(), 1u);
  EXPECT_FALSE(reader.failed());
  EXPECT_EQ(reader.read<std::uint16_t>(), 0);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.read<std::uint8_t>(), 0);  // although one byte is left
  EXPECT_TRUE(reader.take(0).empty());
  EXPECT_FALSE(reader.complete());
}

TEST(ByteReader, IsCompleteOnlyAtTheEnd) {
  const Bytes data(2);
  ByteReader reader(data);
  reader.read<std::uint8_t>();
  EXPECT_FALSE(reader.complete());
  reader.read<std::uint8_t>();
  EXPECT_TRUE(reader.complete());
  EXPECT_TRUE(ByteReader({}).complete());
}

TEST(ByteReader, FailsOnShortDigestsAndUuids) {
  const Bytes data(15, std::byte{1});
  ByteReader digests(data), uuids(data);
  EXPECT_EQ(digests.read_digest(), Digest{});
  EXPECT_TRUE(digests.failed());
  EXPECT_EQ(uuids.read_uuid(), Uuid{});
  EXPECT_TRUE(uuids.failed());
}

TEST(ByteReader, HoldsSizesAgainstTheLimitAndTheData) {
  ByteWriter writer;
  writer.write_text("1234");
  EXPECT_EQ(ByteReader(writer.view()).take_sized(4).size(), 4u);
  ByteReader over_limit(writer.view());
  EXPECT_TRUE(over_limit.take_sized(3).empty());
  EXPECT_TRUE(over_limit.failed());
  ByteReader short_of_data(writer.view().first(7));
  EXPECT_TRUE(short_of_data.take_sized(4).empty());
  EXPECT_TRUE(short_of_data.failed());
  ByteReader short_of_length(writer.view().first(3));
  EXPECT_TRUE(short_of_length.take_sized(4).empty());
  EXPECT_TRUE(short_of_length.failed());
}

TEST(ByteReader, RefusesLengthsThatWouldOverflow) {
  const Bytes data(8, std::byte{0xff});
  ByteReader reader(data);
  EXPECT_TRUE(reader.take(SIZE_MAX).empty());
  EXPECT_TRUE(reader.failed());
  ByteReader sized(data);
  EXPECT_TRUE(sized.take_sized(SIZE_MAX).empty());
  EXPECT_TRUE(sized.failed());
}

}  // namespace
}  // namespace icbd
