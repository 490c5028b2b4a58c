// An arrival against a source that misbehaves on command.

#include "icbd/replicator/arrival.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST_F(ArrivalTest, AReaderIsAnsweredWhileBulkIsStuck) {
  publish("head -c 20M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->hold(source::Priority::bulk, true);
  replicator_->want((*version)->version.serial);
  const auto bytes = read(**version, "disk", {5'000'000, 100}).get();
  ASSERT_DONE(bytes);
  EXPECT_EQ(bytes->size(), 100u);
  // Also one whose chunk bulk has claimed and does not bring.
  ASSERT_DONE(read(**version, "disk", {0, 10}).get());
  source_->hold(source::Priority::bulk, false);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, TheManifestIsFetchedWhileTheShapeIsOnItsWay) {
  publish("printf 0123456789 > small");
  source_->rewrite_shape = [&](const source::ShapeBegin&, ByteView whole) {
    wait_until([&] { return source_->pages_asked > 0; }, "the manifest is not asked for");
    return Bytes(whole.begin(), whole.end());
  };
  start();
  ASSERT_DONE(open(1));
}

TEST_F(ArrivalTest, AReadBeyondTheEndIsCutAndAnEmptyOneIsAnsweredAtOnce) {
  publish("printf 0123456789 > small");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  const auto tail = read(**version, "small", {7, 100}).get();
  ASSERT_DONE(tail);
  EXPECT_EQ(as_text(*tail), "789");
  const auto nothing = read(**version, "small", {10, 100}).get();
  ASSERT_DONE(nothing);
  EXPECT_TRUE(nothing->empty());
}

TEST_F(ArrivalTest, AReaderWaitsOutASourceThatIsAwayForAMoment) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  auto bytes = read(**version, "disk", {0, 4096});
  EXPECT_EQ(bytes.wait_for(300ms), std::future_status::timeout);
  source_->set_away(false);
  ASSERT_DONE(bytes.get());
}

TEST_F(ArrivalTest, AReaderFailsWhenTheSourceStaysAway) {
  publish("head -c 1M /dev/urandom > disk");
  start(200ms);
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code(), ErrorCode::timed_out);
  EXPECT_EQ(to_errno(bytes.error()), EIO);
}

TEST_F(ArrivalTest, AChunkThatComesDamagedOnceIsFetchedAgain) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->corrupt_next_extents(1);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_DONE(bytes);
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, AChunkThatStaysDamagedIsNeverServedNorLanded) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->corrupt_next_extents(1'000'000);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(bytes.error().message(), HasSubstr("does not match its manifest"));
  replicator_->want((*version)->version.serial);
  wait_until(
      [&] {
        return (*version)->arrival->progress().failure.find("does not match its manifest") !=
               std::string::npos;
      },
      "status does not say why");
  EXPECT_FALSE(is_complete(1));

  // It goes on by itself once the source is mended.
  source_->corrupt_next_extents(0);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, ADamagedManifestPageRefusesTheVersionAndLeavesNothing) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  source_->set_corrupt_pages(true);
  const auto version = open(1);
  ASSERT_FALSE(version.has_value());
  EXPECT_EQ(version.error().code(), ErrorCode::corrupt);
  EXPECT_FALSE(std::filesystem::exists(cache_->staging_path("image", VersionNumber(1))));
  source_->set_corrupt_pages(false);
  ASSERT_DONE(open(1));
}

TEST_F(ArrivalTest, OnlyChangedRangesAreFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  let_arrive(1);
  publish("printf change | dd of=disk bs=1 seek=1000000 conv=notrunc status=none");
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_fetched, 4096u) << "one block of one chunk";
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, AFileRewrittenAsANewOneIsSharedAndNotFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  let_arrive(1);
  publish("cp --reflink=never disk new; mv new disk; echo more >> disk");
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_shared, 4u * 1024 * 1024);
  EXPECT_LT(arrival->progress().bytes_fetched, 1024u);
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, WhatAnotherImageHasIsSharedAndNotFetched) {
  publish("head -c 4M /dev/urandom > disk; echo one > name", "other");
  start();
  wait_until_known(1, "other");
  ASSERT_DONE(open(1, "other"));
  replicator_->want(serial(1, "other"));
  wait_until_complete(1, "other");
  publish("echo two > name");
  const auto arrival = let_arrive(1);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_shared, 4u * 1024 * 1024);
  EXPECT_LT(arrival->progress().bytes_fetched, 1024u);
  expect_landed_equal(1);
}

// By whole chunks, as an installer does that puts a partition somewhere else.
TEST_F(ArrivalTest, AShiftedCopyIsSharedAndNotFetched) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  let_arrive(1);
  publish("{ head -c 128K /dev/urandom; dd if=disk bs=64K status=none; } > shifted; rm disk");
  const auto arrival = let_arrive(2);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_shared, 4u * 1024 * 1024);
  EXPECT_EQ(arrival->progress().bytes_fetched, 128u * 1024);
  expect_landed_equal(2);
}

TEST_F(ArrivalTest, WhatAVersionHoldsTwiceIsFetchedOnce) {
  publish("head -c 4M /dev/urandom > disk; cp --reflink=never disk copy");
  start();
  const auto arrival = let_arrive(1);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_fetched, 4u * 1024 * 1024);
  EXPECT_EQ(arrival->progress().bytes_shared, 4u * 1024 * 1024);
  expect_landed_equal(1);
}

// More than wait for one another at a time, and some in files that cannot be shared.
TEST_F(ArrivalTest, ManyRepeatedFilesAreFetchedOnce) {
  publish(
      "head -c 17000 /dev/urandom > first; for name in $(seq 1100); do cp first $name; done; "
      "mkdir plain; chattr +C plain; cp first plain/");
  start();
  const auto arrival = let_arrive(1);
  ASSERT_TRUE(arrival);
  EXPECT_EQ(arrival->progress().bytes_fetched, 17000u);
  EXPECT_EQ(arrival->progress().bytes_shared, 1101u * 17000);
  expect_landed_equal(1);
}

TEST_F(ArrivalTest, StoppingAnswersEveryReaderAndTheNextStartGoesOn) {
  publish("head -c 8M /dev/urandom > disk");
  start();
  {
    const auto version = open(1);
    ASSERT_DONE(version);
    ASSERT_DONE(read(**version, "disk", {0, 3'000'000}).get());
    source_->set_away(true);
    replicator_->want((*version)->version.serial);
    auto waiting = read(**version, "disk", {6'000'000, 100});
    replicator_->stop();
    const auto bytes = waiting.get();
    ASSERT_FALSE(bytes.has_value());
    EXPECT_EQ(bytes.error().code(), ErrorCode::cancelled);
  }
  replicator_.reset();
  source_->set_away(false);
  source_->extents_served = 0;
  start();
  wait_until_complete(1);
  expect_landed_equal(1);
  // The last of the 23 chunks that were read may still have been on its way to the disk.
  EXPECT_LE(source_->extents_served, 64 - 22) << "22 chunks were here before";
}

}  // namespace
}  // namespace icbd::replicator
