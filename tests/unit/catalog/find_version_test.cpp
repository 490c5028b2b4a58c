#include "icbd/catalog/find_version.h"

#include <gtest/gtest.h>

namespace icbd::catalog {
namespace {

class FindVersionTest : public ::testing::Test {
 protected:
  FindVersionTest() {
    for (const std::uint32_t number : {1u, 3u, 7u}) {
      Version version;
      version.facts.image = "win11";
      version.facts.number = VersionNumber(number);
      versions_.push_back(version);
    }
  }
  std::uint32_t find(std::string_view word) const {
    const auto found = find_version(versions_, tags_, "win11", word);
    return found ? (*found)->facts.number.value() : 0;
  }
  ErrorCode error(std::string_view word) const {
    return find_version(versions_, tags_, "win11", word).error().code();
  }

  std::vector<Version> versions_;
  std::vector<Tag> tags_;
};

TEST_F(FindVersionTest, ByNumber) {
  EXPECT_EQ(find("3"), 3u);
  EXPECT_EQ(error("2"), ErrorCode::not_found);
  EXPECT_EQ(error("03"), ErrorCode::invalid_argument);
}

TEST_F(FindVersionTest, TheLatestHasTheHighestNumber) {
  EXPECT_EQ(find("latest"), 7u);
  versions_.clear();
  EXPECT_EQ(error("latest"), ErrorCode::not_found);
}

TEST_F(FindVersionTest, CurrentIsTheLatestUntilItIsSet) {
  EXPECT_EQ(find("current"), 7u);
  tags_ = {{"other", "current", VersionNumber(1)}, {"win11", "current", VersionNumber(3)}};
  EXPECT_EQ(find("current"), 3u);
}

TEST_F(FindVersionTest, ByTag) {
  tags_ = {{"win11", "stable", VersionNumber(1)}};
  EXPECT_EQ(find("stable"), 1u);
  EXPECT_EQ(error("stabel"), ErrorCode::not_found);
  EXPECT_EQ(error("no tag"), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace icbd::catalog
