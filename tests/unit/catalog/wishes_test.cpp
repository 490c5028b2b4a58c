// Tags, pins, pulls and subscriptions in the catalog.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "icbd/base/limits.h"

#include "unit/catalog/database.h"

namespace icbd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WishesTest : public CatalogFileTest {
 protected:
  void SetUp() override {
    reopen();
    for (std::uint32_t number = 1; number <= 3; ++number) serials_.push_back(add("win11", number));
  }

  void reopen() {
    catalog_.reset();
    auto catalog = Catalog::open(file_);
    ASSERT_TRUE(catalog) << catalog.error().message();
    catalog_ = std::move(*catalog);
  }
  VersionSerial add(const std::string& image, std::uint32_t number) {
    VersionFacts facts;
    facts.image = image;
    facts.number = VersionNumber(number);
    facts.uuid = Uuid::random();
    facts.boot_directory = "boot";
    facts.target_file = "disks/system.raw";
    return catalog_->add_version(facts, VersionState::remote).value();
  }
  Version version(std::size_t index) { return catalog_->version(serials_[index]).value(); }

  std::unique_ptr<Catalog> catalog_;
  std::vector<VersionSerial> serials_;
};

TEST_F(WishesTest, WhatClientsBootFromIsKept) {
  reopen();
  EXPECT_EQ(version(0).facts.boot_directory, "boot");
  EXPECT_EQ(version(0).facts.target_file, "disks/system.raw");
}

TEST_F(WishesTest, ANameInTheViewHasItsNumberForEver) {
  const std::vector<std::string> names = {"win11", "win11/latest", "debian"};
  const std::uint64_t before = catalog_->change_number().value();
  const auto given = catalog_->view_name_ids(names).value();
  ASSERT_EQ(given.size(), 3u);
  EXPECT_EQ(std::set(given.begin(), given.end()).size(), 3u);
  for (const std::uint32_t id : given) EXPECT_LT(id, std::uint32_t{1} << 31);
  reopen();
  const std::vector<std::string> others = {"debian", "new", "win11", "debian"};
  const auto again = catalog_->view_name_ids(others).value();
  EXPECT_THAT(again, ElementsAre(given[2], ::testing::Gt(given[2]), given[0], given[2]))
      << "in the order of the names";
  EXPECT_EQ(catalog_->change_number().value(), before) << "nothing that others see";
  EXPECT_THAT(catalog_->view_name_ids({}).value(), IsEmpty());
}

TEST_F(WishesTest, ANumberIsNotGivenAgainEvenIfItsNameIsRemovedByHand) {
  const std::vector<std::string> first = {"a"}, second = {"b"};
  const auto given = catalog_->view_name_ids(first).value();
  catalog_.reset();
  sql("DELETE FROM view_names");
  reopen();
  EXPECT_GT(catalog_->view_name_ids(second).value()[0], given[0]);
}

TEST_F(WishesTest, WhenNumbersRunOutNoneIsGiven) {
  catalog_.reset();
  sql("INSERT INTO view_names (id, name) VALUES (2147483647, 'last')");
  reopen();
  const std::vector<std::string> more = {"more"};
  EXPECT_FALSE(catalog_->view_name_ids(more));
}

TEST_F(WishesTest, ATagIsMoved) {
  const Tag first{"win11", "stable", VersionNumber(1)}, second{"win11", "stable", VersionNumber(2)};
  const std::uint64_t before = catalog_->change_number().value();
  ASSERT_TRUE(catalog_->set_tag(first));
  ASSERT_TRUE(catalog_->set_tag(second));
  reopen();
  EXPECT_THAT(catalog_->tags().value(), ElementsAre(second));
  EXPECT_EQ(catalog_->change_number().value(), before + 2) << "others see tags";
  ASSERT_TRUE(catalog_->remove_tag("win11", "stable"));
  EXPECT_THAT(catalog_->tags().value(), IsEmpty());
  EXPECT_EQ(catalog_->remove_tag("win11", "stable").error().code(), ErrorCode::not_found);
}

TEST_F(WishesTest, ATagOfNothingIsRefused) {
  const auto unknown = catalog_->set_tag({"win11", "stable", VersionNumber(9)});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::not_found);
  EXPECT_EQ(catalog_->set_tag({"win11", "12", VersionNumber(1)}).error().code(),
            ErrorCode::invalid_argument);
}

TEST_F(WishesTest, TagsOfTheMasterReplaceThoseThatAreHere) {
  ASSERT_TRUE(catalog_->set_tag({"win11", "old", VersionNumber(1)}));
  const Tag kept{"win11", "current", VersionNumber(3)};
  const std::vector<Tag> told = {kept, {"win11", "later", VersionNumber(4)}};
  ASSERT_TRUE(catalog_->replace_tags(told));
  EXPECT_THAT(catalog_->tags().value(), ElementsAre(kept)) << "version 4 is not known yet";

  const std::uint64_t before = catalog_->change_number().value();
  ASSERT_TRUE(catalog_->replace_tags(told));
  EXPECT_EQ(catalog_->change_number().value(), before) << "nothing has changed";
}

TEST_F(WishesTest, APinHasAReasonAndATime) {
  const Pin pin{.reason = "exam week", .since = {1'700'000'000, 0}};
  ASSERT_TRUE(catalog_->set_pin(serials_[1], pin));
  reopen();
  EXPECT_EQ(version(1).pin, pin);
  EXPECT_EQ(version(0).pin, std::nullopt);
  ASSERT_TRUE(catalog_->set_pin(serials_[1], std::nullopt));
  EXPECT_EQ(version(1).pin, std::nullopt);
  EXPECT_EQ(catalog_->set_pin(VersionSerial(77), pin).error().code(), ErrorCode::not_found);
  const std::string endless(limits::message_length + 1, 'x');
  EXPECT_EQ(catalog_->set_pin(serials_[1], Pin{.reason = endless, .since = {}}).error().code(),
            ErrorCode::too_large);
}

TEST_F(WishesTest, APullIsForgottenWhenTheVersionIsComplete) {
  ASSERT_TRUE(catalog_->set_pulled(serials_[0], true));
  ASSERT_TRUE(catalog_->set_state(serials_[0], VersionState::arriving));
  reopen();
  EXPECT_TRUE(version(0).pulled);
  ASSERT_TRUE(catalog_->set_state(serials_[0], VersionState::complete));
  EXPECT_FALSE(version(0).pulled);
}

TEST_F(WishesTest, WhatBecomesRemoteAgainHasAnotherGeneration) {
  ASSERT_TRUE(catalog_->set_state(serials_[0], VersionState::arriving));
  ASSERT_TRUE(catalog_->set_state(serials_[0], VersionState::complete));
  EXPECT_EQ(version(0).generation, 0u);
  ASSERT_TRUE(catalog_->set_state(serials_[0], VersionState::remote));
  reopen();
  EXPECT_EQ(version(0).generation, 1u);
}

TEST_F(WishesTest, TheObserverHearsOfWhatOthersCanSee) {
  std::vector<std::uint64_t> told;
  catalog_->set_observer([&](std::uint64_t number) { told.push_back(number); });
  ASSERT_TRUE(catalog_->set_tag({"win11", "stable", VersionNumber(1)}));
  ASSERT_TRUE(catalog_->set_pin(serials_[0], Pin{.reason = "mine alone", .since = {}}));
  EXPECT_THAT(told, ElementsAre(catalog_->change_number().value()));
}

TEST_F(WishesTest, AnImageHasOneSubscription) {
  ASSERT_TRUE(catalog_->set_subscription({.image = "win11", .latest = 2}));
  ASSERT_TRUE(
      catalog_->set_subscription({.image = "later", .tag = "stable", .transfer = "stream"}));
  ASSERT_TRUE(catalog_->set_subscription({.image = "win11", .tag = "current"}));
  reopen();
  EXPECT_THAT(catalog_->subscriptions().value(),
              ElementsAre(Subscription{.image = "later", .tag = "stable", .transfer = "stream"},
                          Subscription{.image = "win11", .tag = "current"}));
  ASSERT_TRUE(catalog_->remove_subscription("later"));
  EXPECT_EQ(catalog_->remove_subscription("later").error().code(), ErrorCode::not_found);
}

TEST_F(WishesTest, ASubscriptionWantsOneThing) {
  for (const Subscription& subscription :
       {Subscription{.image = "win11"},
        Subscription{.image = "win11", .latest = 1, .tag = "stable"},
        Subscription{.image = "win11", .tag = "latest"}, Subscription{.image = "", .latest = 1}})
    EXPECT_EQ(catalog_->set_subscription(subscription).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace icbd::catalog
