#include "icbd/catalog/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "icbd/base/limits.h"

namespace icbd::catalog {
namespace {

using ::testing::HasSubstr;

TEST(ImageName, AcceptsWhatIsSafeEverywhere) {
  for (const char* name : {"a", "win11", "Debian_12.5-amd64", "0", "_", "latest2", "Latest"})
    EXPECT_TRUE(check_image_name(name)) << name;
  EXPECT_TRUE(check_image_name(std::string(limits::image_name_length, 'x')));
}

TEST(ImageName, RefusesAllElseWithTheReason) {
  const std::vector<std::pair<std::string, const char*>> refused = {
      {"", "empty"},
      {std::string(limits::image_name_length + 1, 'x'), "101 characters, and 100 are allowed"},
      {std::string(1'000'000, 'x'), "1000000 characters"},
      {".hidden", "begins with"},
      {"..", "begins with"},
      {"-rf", "begins with"},
      {"a/b", "only A-Z"},
      {"a b", "only A-Z"},
      {"a\n", R"("a\x0a")"},
      {std::string("a\0b", 3), "only A-Z"},
      {"gr\xc3\xbcn", "only A-Z"},
      {"a@1", "only A-Z"},
      {"latest", "reserved"},
      {"current", "reserved"}};
  for (const auto& [name, reason] : refused) {
    const Status checked = check_image_name(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(checked.error().message(), HasSubstr(reason));
    EXPECT_LT(checked.error().message().size(), 300u);
  }
}

TEST(VersionNumber, IsDecimalFromOne) {
  EXPECT_EQ(parse_version_number("1").value(), VersionNumber(1));
  EXPECT_EQ(parse_version_number("4294967295").value(), VersionNumber(4294967295));
  for (const char* text : {"", "0", "01", "-1", "+1", " 1", "1 ", "1x", "0x1", "4294967296",
                           "99999999999999999999", "latest"}) {
    const auto number = parse_version_number(text);
    ASSERT_FALSE(number) << text;
    EXPECT_EQ(number.error().code(), ErrorCode::invalid_argument);
  }
}

TEST(VersionName, IsImageAtNumber) {
  const auto name = parse_version_name("win11@3");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->image, "win11");
  EXPECT_EQ(name->number, VersionNumber(3));
  for (const char* text : {"", "win11", "win11@", "@3", "win11@3@4", "win11@latest", "a/b@3"})
    EXPECT_FALSE(parse_version_name(text)) << text;
  EXPECT_THAT(parse_version_name("win11").error().message(), HasSubstr("IMAGE@NUMBER"));
}

TEST(NamesTest, ATagIsNoNumber) {
  for (const char* name : {"stable", "2026-11", "current", "v3"}) EXPECT_TRUE(check_tag_name(name));
  for (const char* name : {"", "3", "0", "latest", ".hidden", "-x", "a/b", "a b"})
    EXPECT_FALSE(check_tag_name(name)) << name;
}

TEST(NamesTest, AMarkedPathStaysWithinItsVersion) {
  for (const char* path : {"", "boot", "boot/efi", "a/..b"}) EXPECT_TRUE(check_marked_path(path));
  for (const char* path : {"/boot", "boot/", "a//b", "..", "a/../b", "./a", "."})
    EXPECT_FALSE(check_marked_path(path)) << path;
  EXPECT_FALSE(check_marked_path(std::string_view("a\0b", 3)));
  EXPECT_FALSE(check_marked_path(std::string(300, 'x')));
}

}  // namespace
}  // namespace icbd::catalog
