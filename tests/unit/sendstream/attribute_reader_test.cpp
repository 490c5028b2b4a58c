#include "attribute_reader.h"

#include <gmock/gmock.h>

#include "icbd/base/limits.h"

#include "sample_commands.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

using testing::HasSubstr;
using wire::Attribute;

void add(ByteWriter& writer, Attribute attribute, std::string_view value) {
  writer.write(static_cast<std::uint16_t>(attribute));
  writer.write(static_cast<std::uint16_t>(value.size()));
  writer.write_bytes(as_bytes(value));
}

Bytes one_attribute(Attribute attribute, std::string_view value) {
  ByteWriter writer;
  add(writer, attribute, value);
  return writer.take();
}

Error error_of(AttributeReader& reader) {
  const Status status = reader.finish();
  return status ? Error(ErrorCode::internal, "no error at all") : status.error();
}

TEST(AttributeReader, GivesEachAttributeOnceInAnyOrder) {
  ByteWriter writer;
  add(writer, Attribute::path_to, "to");
  add(writer, Attribute::path, "from");
  AttributeReader reader(writer.view(), 2);
  std::string from, to;
  reader.path(Attribute::path, from);
  reader.path(Attribute::path_to, to);
  EXPECT_TRUE(reader.finish());
  EXPECT_EQ(from, "from");
  EXPECT_EQ(to, "to");
}

TEST(AttributeReader, AMissingAttributeIsCorruptAndNamed) {
  AttributeReader reader({}, 2);
  std::uint64_t size = 0;
  reader.number(Attribute::size, size);
  const Error error = error_of(reader);
  EXPECT_EQ(error.code(), ErrorCode::corrupt);
  EXPECT_THAT(error.message(), HasSubstr("size is missing"));
}

TEST(AttributeReader, ARepeatedAttributeIsCorrupt) {
  ByteWriter writer;
  add(writer, Attribute::path, "a");
  add(writer, Attribute::path, "b");
  AttributeReader reader(writer.view(), 2);
  std::string path;
  reader.path(Attribute::path, path);
  EXPECT_THAT(error_of(reader).message(), HasSubstr("path is there twice"));
}

TEST(AttributeReader, AnAttributeOfAnotherCommandIsUnsupported) {
  const Bytes attributes = one_attribute(Attribute::uid, "12345678");
  AttributeReader reader(attributes, 2);
  const Error error = error_of(reader);
  EXPECT_EQ(error.code(), ErrorCode::unsupported);
  EXPECT_THAT(error.message(), HasSubstr("uid does not belong"));
}

TEST(AttributeReader, AttributesOfLaterVersionsAreUnknown) {
  const std::pair<Attribute, std::uint32_t> first_version[] = {{Attribute::fallocate_mode, 2},
                                                               {Attribute::verity_salt, 3},
                                                               {static_cast<Attribute>(36), 4},
                                                               {static_cast<Attribute>(0), 4}};
  for (const auto& [attribute, since] : first_version)
    for (std::uint32_t version = 1; version <= wire::newest_version; ++version) {
      const Bytes attributes = one_attribute(attribute, "");
      AttributeReader reader(attributes, version);
      if (version >= since) {
        Bytes nothing;
        reader.bytes(attribute, nothing, 0);
        EXPECT_TRUE(reader.finish());
      } else {
        EXPECT_THAT(error_of(reader).message(), HasSubstr("unknown in version"));
      }
    }
}

TEST(AttributeReader, NumbersMustHaveTheirExactSize) {
  for (const std::string_view value : {"", "1234567", "123456789"}) {
    const Bytes attributes = one_attribute(Attribute::size, value);
    AttributeReader reader(attributes, 2);
    std::uint64_t size = 0;
    reader.number(Attribute::size, size);
    EXPECT_EQ(error_of(reader).code(), ErrorCode::corrupt) << value.size();
  }
}

TEST(AttributeReader, TextIsHeldAgainstItsLimitAndHoldsNoNul) {
  std::string value;
  const Bytes longest = one_attribute(Attribute::path, std::string(limits::path_length, 'p'));
  AttributeReader accepted(longest, 2);
  accepted.path(Attribute::path, value);
  EXPECT_TRUE(accepted.finish());

  const Bytes longer = one_attribute(Attribute::path, std::string(limits::path_length + 1, 'p'));
  AttributeReader too_long(longer, 2);
  too_long.path(Attribute::path, value);
  EXPECT_EQ(error_of(too_long).code(), ErrorCode::corrupt);

  const Bytes cut = one_attribute(Attribute::path, std::string_view("a\0b", 3));
  AttributeReader with_nul(cut, 2);
  with_nul.path(Attribute::path, value);
  EXPECT_THAT(error_of(with_nul).message(), HasSubstr("NUL"));
}

TEST(AttributeReader, ATimeHasLessThanASecondOfNanoseconds) {
  ByteWriter value;
  value.write(std::int64_t{7});
  value.write(std::uint32_t{1'000'000'000});
  const Bytes attributes = one_attribute(Attribute::modified, as_text(value.view()));
  AttributeReader reader(attributes, 2);
  Timestamp time;
  reader.time(Attribute::modified, time);
  EXPECT_THAT(error_of(reader).message(), HasSubstr("nanoseconds"));
}

TEST(AttributeReader, ARangeEndsWithin64Bits) {
  AttributeReader reader({}, 2);
  reader.check_range(Attribute::size, {~std::uint64_t{0}, 1});
  EXPECT_EQ(error_of(reader).code(), ErrorCode::corrupt);
}

TEST(AttributeReader, DataTakesTheRestFromVersion2On) {
  ByteWriter writer;
  writer.write(static_cast<std::uint16_t>(Attribute::data));
  writer.write_bytes(as_bytes("all of this"));
  AttributeReader reader(writer.view(), 2);
  ByteView data;
  reader.data(Attribute::data, data);
  EXPECT_TRUE(reader.finish());
  EXPECT_EQ(as_text(data), "all of this");

  AttributeReader version_1(writer.view(), 1);
  EXPECT_THAT(error_of(version_1).message(), HasSubstr("longer than its command"));
}

}  // namespace
}  // namespace icbd::sendstream
