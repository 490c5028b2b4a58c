#include "icbd/replicator/wishes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace icbd::replicator {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WishesTest : public ::testing::Test {
 protected:
  WishesTest() {
    for (const char* image : {"debian", "win11"}) {
      table_.images.push_back(image);
      for (std::uint32_t number = 1; number <= 4; ++number) {
        catalog::Version version;
        version.serial = VersionSerial(static_cast<std::uint32_t>(table_.versions.size() + 1));
        version.facts.image = image;
        version.facts.number = VersionNumber(number);
        table_.versions.push_back(version);
      }
    }
  }
  static std::vector<std::uint32_t> numbers(const std::vector<catalog::Version>& versions) {
    std::vector<std::uint32_t> numbers;
    for (const catalog::Version& version : versions)
      numbers.push_back(version.facts.number.value());
    return numbers;
  }
  catalog::Version& version(std::size_t of_win11) { return table_.versions[3 + of_win11]; }

  VersionTable table_;
};

TEST_F(WishesTest, NobodyWantsAnything) {
  EXPECT_THAT(wanted_versions(table_, "win11"), IsEmpty());
  EXPECT_THAT(wanted_versions(table_, "nothing"), IsEmpty());
}

TEST_F(WishesTest, TheNewestFirst) {
  EXPECT_THAT(numbers(wanted_by(table_, {.image = "win11", .latest = 2})), ElementsAre(4, 3));
  EXPECT_THAT(numbers(wanted_by(table_, {.image = "win11", .latest = 99})),
              ElementsAre(4, 3, 2, 1));
  EXPECT_THAT(numbers(wanted_by(table_, {.image = "later", .latest = 1})), IsEmpty());
}

TEST_F(WishesTest, TheOneThatHasTheTag) {
  const catalog::Subscription stable{.image = "win11", .tag = "stable"};
  EXPECT_THAT(wanted_by(table_, stable), IsEmpty());
  table_.tags = {{"debian", "stable", VersionNumber(1)}, {"win11", "stable", VersionNumber(2)}};
  EXPECT_THAT(numbers(wanted_by(table_, stable)), ElementsAre(2));
  EXPECT_THAT(numbers(wanted_by(table_, {.image = "win11", .tag = "current"})), ElementsAre(4))
      << "the latest, while nobody has said what is current";
}

TEST_F(WishesTest, WhatPeoplePulledComesFirst) {
  table_.subscriptions = {{.image = "win11", .latest = 2}};
  version(1).pulled = version(3).pulled = true;
  EXPECT_THAT(numbers(wanted_versions(table_, "win11")), ElementsAre(1, 3, 4));
  EXPECT_THAT(wanted_versions(table_, "debian"), IsEmpty());
}

TEST_F(WishesTest, SubscriptionsInWords) {
  EXPECT_EQ(describe({.image = "a", .latest = 1}), "the newest version");
  EXPECT_EQ(describe({.image = "a", .latest = 3}), "the newest 3 versions");
  EXPECT_EQ(describe({.image = "a", .tag = "stable"}), "the version tagged stable");
}

}  // namespace
}  // namespace icbd::replicator
