#include "icbd/base/uuid.h"

#include <gtest/gtest.h>

namespace icbd {
namespace {

TEST(Uuid, IsWrittenInFiveGroups) {
  Uuid uuid;
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i)
    uuid.bytes[i] = static_cast<std::byte>(i * 0x11);
  EXPECT_EQ(uuid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
  EXPECT_EQ(Uuid::parse("00112233-4455-6677-8899-AABBCCDDEEFF").value(), uuid);
}

TEST(Uuid, RefusesAllElse) {
  for (const char* text :
       {"", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeefff", "00112233-4455-6677-8899-aabbccddeefg",
        "001122334-455-6677-8899-aabbccddeeff", "{0112233-4455-6677-8899-aabbccddeef}"}) {
    const auto uuid = Uuid::parse(text);
    ASSERT_FALSE(uuid) << text;
    EXPECT_EQ(uuid.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(Uuid, IsNullByDefault) {
  EXPECT_TRUE(Uuid{}.is_null());
  EXPECT_TRUE(Uuid::parse("00000000-0000-0000-0000-000000000000").value().is_null());
}

TEST(RandomUuid, IsOfVersion4AndNewEachTime) {
  const Uuid uuid = Uuid::random();
  EXPECT_NE(uuid, Uuid::random());
  const std::string text = uuid.to_string();
  EXPECT_EQ(text[14], '4');
  EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos);
}

}  // namespace
}  // namespace icbd
