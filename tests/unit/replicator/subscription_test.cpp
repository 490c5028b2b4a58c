// Versions that are here before anyone reads them.

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SubscriptionTest : public ArrivalTest {
 protected:
  std::string phase(std::uint32_t number) {
    for (const auto& [version, progress] : replicator_->arriving())
      if (version.facts.number == VersionNumber(number))
        return std::string(to_string(progress.phase));
    return is_complete(number) ? "complete" : "remote";
  }
  SubscriptionStatus status() { return replicator_->subscriptions().at(0); }
};

TEST_F(SubscriptionTest, TheNewestVersionsArriveByThemselves) {
  for (int i = 0; i < 3; ++i) publish("head -c 1M /dev/urandom > disk");
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 2}));
  wait_until_complete(3);
  wait_until_complete(2);
  EXPECT_EQ(phase(1), "remote");
  publish("head -c 1M /dev/urandom > disk");
  wait_until_known(4);
  wait_until_complete(4);
  expect_landed_equal(4);
  EXPECT_EQ(status().behind_versions, 0u);
}

TEST_F(SubscriptionTest, ATagIsFollowedWhereverItGoes) {
  for (int i = 0; i < 3; ++i) publish("head -c 1M /dev/urandom > disk");
  ASSERT_DONE(master_->catalog().set_tag({"image", "stable", VersionNumber(1)}));
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .tag = "stable"}));
  wait_until_complete(1);
  ASSERT_DONE(master_->catalog().set_tag({"image", "stable", VersionNumber(2)}));
  wait_until_complete(2);
  EXPECT_EQ(phase(3), "remote");
}

TEST_F(SubscriptionTest, AnImageMayBeSubscribedBeforeItIsThere) {
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 1}));
  EXPECT_THAT(status().error, HasSubstr("no image image yet"));
  publish("head -c 1M /dev/urandom > disk");
  wait_until_known(1);
  wait_until_complete(1);
  EXPECT_EQ(status().error, "");
}

TEST_F(SubscriptionTest, OutlivesARestart) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 1}));
  wait_until_complete(1);
  replicator_.reset();
  publish("head -c 1M /dev/urandom > disk");
  start();
  wait_until_complete(2);
}

TEST_F(SubscriptionTest, SaysHowFarBehindItIs) {
  publish("head -c 2M /dev/urandom > disk");
  publish("head -c 3M /dev/urandom > disk");
  source_->hold(source::Priority::bulk, true);
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 2}));
  wait_until([&] { return phase(2) == "filling"; }, "nothing is filled");
  wait_until([&] { return status().behind_bytes == 5u << 20; }, "the bytes that are to come");
  EXPECT_EQ(status().behind_versions, 2u);
  ASSERT_EQ(status().wanted.size(), 2u);
  EXPECT_EQ(status().wanted.front().facts.number, VersionNumber(2));
}

TEST_F(SubscriptionTest, GoesOnWhenTheMasterIsBack) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  source_->set_away(true);
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 1}));
  wait_until([&] { return !replicator_->source_status().reachable; }, "the loss is not noticed");
  EXPECT_EQ(phase(1), "remote");
  EXPECT_EQ(replicator_->obstacle(serial(1)), replicator_->source_status().error);
  EXPECT_NE(replicator_->obstacle(serial(1)), "");
  source_->set_away(false);
  wait_until_complete(1);
}

TEST_F(SubscriptionTest, AReadersVersionGoesFirst) {
  for (int i = 0; i < 4; ++i) publish("head -c 2M /dev/urandom > disk");
  source_->hold(source::Priority::bulk, true);
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 2}));
  wait_until([&] { return phase(4) == "filling" && phase(3) == "queued"; }, "two are on their way");
  const auto read_one = open(1);
  ASSERT_DONE(read_one);
  replicator_->note_read(*(*read_one)->arrival, 1u << 20);
  source_->hold(source::Priority::bulk, false);
  wait_until_complete(1);
  wait_until_complete(3);
}

TEST_F(SubscriptionTest, APullArrivesAndIsForgotten) {
  publish("head -c 1M /dev/urandom > disk");
  start({.fill = FillPolicy::never});
  ASSERT_DONE(replicator_->pull(serial(1)));
  wait_until_complete(1);
  EXPECT_FALSE(cache_->catalog().version(serial(1))->pulled);
  // It is here: nothing to do.
  ASSERT_DONE(replicator_->pull(serial(1)));
  EXPECT_FALSE(cache_->catalog().version(serial(1))->pulled);
}

TEST_F(SubscriptionTest, APullOutlivesARestartWithoutTheMaster) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  source_->set_away(true);
  ASSERT_DONE(replicator_->pull(serial(1)));
  replicator_.reset();
  start();
  source_->set_away(false);
  wait_until_complete(1);
}

TEST_F(SubscriptionTest, TheBackgroundKeepsToItsBandwidth) {
  publish("head -c 12M /dev/urandom > disk");
  start({.bandwidth_limit = 8u << 20});
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_DONE(replicator_->pull(serial(1)));
  wait_until_complete(1);
  // What was saved up, and the last request, which is not waited for, are 4 MiB at most.
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 800ms);
}

TEST_F(SubscriptionTest, WhatClientsBootFromComesFirst) {
  publish(
      "mkdir boot; for i in a.txt disk.raw boot/vmlinuz z.txt; do head -c 400K /dev/urandom > $i; "
      "done");
  source_->rewrite_catalog = [](source::CatalogSnapshot& snapshot) {
    for (catalog::VersionFacts& facts : snapshot.versions) {
      facts.boot_directory = "boot";
      facts.target_file = "disk.raw";
    }
  };
  std::vector<FileIndex> order;  // filled by one request after the other: it is all one batch
  source_->on_extent = [&](const source::Extent& extent) {
    if (order.empty() || order.back() != extent.file) order.push_back(extent.file);
  };
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  ASSERT_DONE(replicator_->pull(serial(1)));
  wait_until_complete(1);
  EXPECT_THAT(order, ElementsAre(file(**version, "boot/vmlinuz"), file(**version, "disk.raw"),
                                 file(**version, "a.txt"), file(**version, "z.txt")));
}

}  // namespace
}  // namespace icbd::replicator
