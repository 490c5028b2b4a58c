// What is here of a version goes, unless something holds it.

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DropTest : public ArrivalTest {
 protected:
  Status drop(std::uint32_t number) { return replicator_->drop(serial(number), {}); }
  std::string refusal(std::uint32_t number) {
    const Status dropped = drop(number);
    EXPECT_FALSE(dropped.has_value());
    if (dropped) return "";
    EXPECT_EQ(dropped.error().code(), ErrorCode::busy);
    return dropped.error().message();
  }
  std::vector<std::string> hold_kinds(std::uint32_t number) {
    std::vector<std::string> kinds;
    for (const Hold& hold : replicator_->holds(serial(number))) kinds.push_back(hold.kind);
    return kinds;
  }
  void expect_nothing_left_of(std::uint32_t number) {
    const VersionNumber which(number);
    for (const auto& path :
         {cache_->version_path("image", which), cache_->staging_path("image", which),
          cache_->manifest_path("image", which), cache_->pending_map_path("image", which)})
      EXPECT_FALSE(std::filesystem::exists(path)) << path;
    EXPECT_EQ(replicator_->find(serial(number))->state, catalog::VersionState::remote);
  }
};

TEST_F(DropTest, ACompleteVersionBecomesRemoteAndCanArriveAgain) {
  publish("head -c 1M /dev/urandom > disk; touch a b c");
  start();
  let_arrive(1);
  ASSERT_DONE(drop(1));
  expect_nothing_left_of(1);
  EXPECT_EQ(replicator_->opened(serial(1)), nullptr);
  EXPECT_EQ(cache_->catalog().version(serial(1))->generation, 1u);
  let_arrive(1);
  expect_landed_equal(1);
}

TEST_F(DropTest, AnArrivalEnds) {
  publish("head -c 4M /dev/urandom > disk");
  source_->hold(source::Priority::bulk, true);
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  replicator_->want((*version)->version.serial);
  wait_until([&] { return (*version)->arrival->progress().filling; }, "it does not begin");
  std::thread dropping([&] { ASSERT_DONE(drop(1)); });
  source_->hold(source::Priority::bulk, false);
  dropping.join();
  expect_nothing_left_of(1);
  replicator_.reset();
  start();
  EXPECT_THAT(cache_->recovery_findings(), IsEmpty());
  expect_nothing_left_of(1);
}

TEST_F(DropTest, ReadersOfADroppedArrivalAreAnswered) {
  publish("head -c 4M /dev/urandom > disk");
  source_->hold(source::Priority::demand, true);
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  auto waiting = read(**version, "disk", {0, 4096});
  std::thread dropping([&] { ASSERT_DONE(drop(1)); });
  const auto bytes = waiting.get();
  EXPECT_FALSE(bytes.has_value());
  source_->hold(source::Priority::demand, false);
  dropping.join();
  expect_nothing_left_of(1);
}

// Its names were shown, and may be remembered by number, although the catalog had not heard of it.
TEST_F(DropTest, AnArrivalThatWasNotCommittedYetHasAnotherGenerationNextTime) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  std::promise<Status> dropped;
  replicator_->open(serial(1), [&](const auto& opened) {
    EXPECT_TRUE(opened.has_value());
    dropped.set_value(drop(1));  // called before the shape is committed
  });
  ASSERT_DONE(dropped.get_future().get());
  expect_nothing_left_of(1);
  EXPECT_EQ(cache_->catalog().version(serial(1))->generation, 1u);
  let_arrive(1);
  expect_landed_equal(1);
}

TEST_F(DropTest, WhatIsNotHereCannotBeDropped) {
  publish("touch a");
  start();
  const Status dropped = drop(1);
  ASSERT_FALSE(dropped.has_value());
  EXPECT_EQ(dropped.error().code(), ErrorCode::not_found);
  EXPECT_EQ(dropped.error().message(), "nothing of image@1 is here");
}

TEST_F(DropTest, APinHolds) {
  publish("touch a");
  start();
  let_arrive(1);
  ASSERT_DONE(replicator_->pin(serial(1), "exam week"));
  EXPECT_THAT(hold_kinds(1), ElementsAre("pin"));
  EXPECT_EQ(refusal(1), "image@1 is held: somebody has pinned it: exam week");
  ASSERT_DONE(replicator_->unpin(serial(1)));
  ASSERT_DONE(drop(1));
}

TEST_F(DropTest, ASubscriptionHolds) {
  publish("touch a");
  start();
  ASSERT_DONE(replicator_->subscribe({.image = "image", .latest = 1}));
  wait_until_complete(1);
  EXPECT_EQ(refusal(1), "image@1 is held: the subscription to image wants the newest version");
  ASSERT_DONE(replicator_->unsubscribe("image"));
  ASSERT_DONE(drop(1));
}

TEST_F(DropTest, TheParentOfAnArrivalIsHeld) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  let_arrive(1);
  source_->hold(source::Priority::bulk, true);
  publish("head -c 1M /dev/urandom > other");
  wait_until_known(2);
  const auto next = open(2);
  ASSERT_DONE(next);
  wait_until([&] { return cache_->catalog().version(serial(2))->shaped; }, "no shape");
  wait_until([&] { return !hold_kinds(1).empty(); }, "no hold");
  EXPECT_THAT(refusal(1), HasSubstr("image@2 arrives on top of it"));
  ASSERT_DONE(drop(2));
  ASSERT_DONE(drop(1));
}

TEST_F(DropTest, OthersHoldToo) {
  publish("touch a");
  start();
  let_arrive(1);
  const auto reader = [](VersionSerial serial) {
    return std::vector<Hold>{{serial, "open", "2 files of it are open"}};
  };
  const Status dropped = replicator_->drop(serial(1), reader);
  ASSERT_FALSE(dropped.has_value());
  EXPECT_EQ(dropped.error().message(), "image@1 is held: 2 files of it are open");
  EXPECT_NE(replicator_->opened(serial(1)), nullptr) << "it can be opened again";
}

}  // namespace
}  // namespace icbd::replicator
