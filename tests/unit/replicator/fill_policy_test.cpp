// When reading from a version has all of it fetched.

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

class FillPolicyTest : public ArrivalTest {
 protected:
  // As the view does: the read, then the note.
  void read_and_note(const OpenedVersion& version, const std::string& path, ByteRange range) {
    ASSERT_DONE(read(version, path, range).get());
    replicator_->note_read(*version.arrival, range.length);
  }
};

TEST_F(FillPolicyTest, OnReadWaitsUntilEnoughWasRead) {
  publish("head -c 4M /dev/urandom > disk");
  start({.fill_threshold = 1'000'000});
  const auto version = open(1);
  ASSERT_DONE(version);
  read_and_note(**version, "disk", {0, 4096});
  EXPECT_EQ((*version)->arrival->progress().phase, ArrivalPhase::on_demand);
  EXPECT_FALSE((*version)->arrival->is_wanted());
  read_and_note(**version, "disk", {1'000'000, 999'999});
  EXPECT_TRUE((*version)->arrival->is_wanted());
  wait_until_complete(1);
}

TEST_F(FillPolicyTest, AVersionSmallerThanTheThresholdIsFetchedWhenAllOfItWasRead) {
  publish("head -c 1000 /dev/urandom > a; head -c 1000 /dev/urandom > b");
  start({.fill_threshold = 1'000'000});
  const auto version = open(1);
  ASSERT_DONE(version);
  read_and_note(**version, "a", {0, 1000});
  EXPECT_FALSE((*version)->arrival->is_wanted());
  read_and_note(**version, "b", {0, 1000});
  wait_until_complete(1);
}

TEST_F(FillPolicyTest, DemandOnlyFetchesWhatIsReadAndNoMore) {
  publish("head -c 4M /dev/urandom > disk");
  start({.fill = FillPolicy::demand_only});
  const auto version = open(1);
  ASSERT_DONE(version);
  for (std::uint64_t i = 0; i < 8; ++i) read_and_note(**version, "disk", {i * 131'072, 131'072});
  EXPECT_FALSE((*version)->arrival->is_wanted());
  EXPECT_EQ((*version)->arrival->progress().bytes_fetched, 8u * 131'072);
}

TEST_F(FillPolicyTest, AVersionOfWhichReadersHaveBroughtEverythingLands) {
  publish("head -c 1M /dev/urandom > disk");
  start({.fill = FillPolicy::demand_only});
  const auto version = open(1);
  ASSERT_DONE(version);
  read_and_note(**version, "disk", {0, 1u << 20});
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(FillPolicyTest, NeverServesOnlyWhatIsHere) {
  publish("head -c 1M /dev/urandom > disk");
  start({.fill = FillPolicy::never});
  const auto version = open(1);
  ASSERT_DONE(version);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(to_errno(bytes.error()), EIO);
  EXPECT_EQ(source_->extents_served, 0);
  // Whoever wants the version by name still gets it.
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
}

TEST_F(FillPolicyTest, KnowingAVersionFetchesNothingOfIt) {
  for (int i = 0; i < 3; ++i) publish("head -c 1M /dev/urandom > disk");
  start();
  EXPECT_EQ(replicator_->versions()->versions.size(), 3u);
  EXPECT_EQ(source_->shapes_served, 0);
}

TEST_F(FillPolicyTest, WhatWasBeingFilledIsFilledAfterARestartAndNothingElse) {
  publish("head -c 4M /dev/urandom > disk");
  publish("head -c 4M /dev/urandom > disk", "other");
  start({.fill_threshold = 1'000'000});
  {
    const auto looked_at = open(1, "other");
    const auto wanted = open(1);
    ASSERT_DONE(looked_at);
    ASSERT_DONE(wanted);
    read_and_note(**looked_at, "disk", {0, 4096});
    source_->hold(source::Priority::bulk, true);
    replicator_->want((*wanted)->version.serial);
    wait_until([&] { return (*wanted)->arrival->progress().phase == ArrivalPhase::filling; },
               "the fill does not begin");
    std::thread stopping([&] { replicator_->stop(); });
    source_->hold(source::Priority::bulk, false);
    stopping.join();
  }
  replicator_.reset();
  start({.fill_threshold = 1'000'000});
  wait_until_complete(1);
  const auto other = replicator_->opened(serial(1, "other"));
  ASSERT_TRUE(other);
  ASSERT_TRUE(other->arrival) << "nobody wanted it";
  EXPECT_FALSE(other->arrival->is_wanted());
}

TEST_F(FillPolicyTest, AnImageThatIsStuckDoesNotHoldUpAnother) {
  publish("head -c 1M /dev/urandom > disk");
  publish("head -c 1M /dev/urandom > disk", "other");
  start();
  const auto stuck = open(1);
  const auto other = open(1, "other");
  ASSERT_DONE(stuck);
  ASSERT_DONE(other);
  source_->corrupt_next_extents(1'000'000);
  replicator_->want((*stuck)->version.serial);
  wait_until([&] { return !(*stuck)->arrival->progress().failure.empty(); },
             "the damaged one does not fail");
  source_->corrupt_next_extents(0);
  replicator_->want((*other)->version.serial);
  wait_until_complete(1, "other");
}

}  // namespace
}  // namespace icbd::replicator
