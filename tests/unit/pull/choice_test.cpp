// Which snapshots of an image come here, and against what.
#include "choice.h"

#include <gmock/gmock.h>

namespace icbd::pull {
namespace {

using catalog::Subscription;
using catalog::Version;
using catalog::VersionState;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Each number is one snapshot, made at that time; its UUID is the number.
Uuid uuid(unsigned number) {
  Uuid made;
  made.bytes.back() = static_cast<std::byte>(number);
  return made;
}
const Uuid live = uuid(200);

Snapshot snapshot(unsigned number) {
  return {.name = std::to_string(number),
          .path = "disk/" + std::to_string(number),
          .uuid = uuid(number),
          .received_uuid = {},
          .parent_uuid = live,
          .created_transaction = number,
          .created = {.seconds = number}};
}
std::vector<Snapshot> snapshots(std::initializer_list<unsigned> numbers) {
  std::vector<Snapshot> all;
  for (const unsigned number : numbers) all.push_back(snapshot(number));
  return all;
}

// Versions 1, 2, … of these snapshots.
std::vector<Version> versions(std::initializer_list<unsigned> numbers) {
  std::vector<Version> all;
  for (const unsigned number : numbers) {
    Version version;
    version.facts.number = VersionNumber(static_cast<std::uint32_t>(all.size() + 1));
    version.facts.uuid = uuid(number);
    version.facts.published = {.seconds = number};
    version.state = VersionState::complete;
    all.push_back(version);
  }
  return all;
}

Subscription newest(std::uint32_t count) {
  return {.image = "disk", .latest = count};
}

std::vector<unsigned> numbers(const std::vector<Snapshot>& all) {
  std::vector<unsigned> found;
  for (const Snapshot& each : all) found.push_back(static_cast<unsigned>(each.created_transaction));
  return found;
}

TEST(Choice, TheNewestOnesThatAreSubscribedOldestFirst) {
  const Choice choice = choose(snapshots({1, 2, 3, 4}), {}, newest(2));
  EXPECT_THAT(numbers(choice.wanted), ElementsAre(3, 4));
  EXPECT_THAT(numbers(choice.newer), ElementsAre(1, 2, 3, 4));
}

TEST(Choice, NothingWithoutASubscription) {
  EXPECT_THAT(choose(snapshots({1, 2}), {}, std::nullopt).wanted, IsEmpty());
}

TEST(Choice, OnlyWhatIsNewerThanWhatIsHere) {
  const Choice choice = choose(snapshots({1, 2, 3, 4, 5}), versions({2, 3}), newest(4));
  EXPECT_THAT(numbers(choice.wanted), ElementsAre(4, 5));
}

TEST(Choice, WhatIsHereIsNotWantedAgainWhateverItIsCalledThere) {
  auto there = snapshots({1, 2});
  there[1].name = "renamed";
  EXPECT_THAT(choose(there, versions({1, 2}), newest(2)).wanted, IsEmpty());
}

TEST(Choice, WhereAllThatIsHereIsGoneTimesDecide) {
  // 9 was deleted there; 7 and 8 are older, and would get a higher number.
  const Choice choice = choose(snapshots({7, 8, 10}), versions({9}), newest(3));
  EXPECT_THAT(numbers(choice.wanted), ElementsAre(10));
  EXPECT_THAT(choice.gone, ElementsAre(VersionNumber(1)));
}

TEST(Choice, TheOrderThereCountsMoreThanAClockThatWasSetBack) {
  auto there = snapshots({5, 6});
  there[1].created = {.seconds = 1};
  EXPECT_THAT(numbers(choose(there, versions({5}), newest(1)).wanted), ElementsAre(6));
}

TEST(Choice, ADroppedVersionComesAgainIfSomebodyPullsItOrTheSubscriptionReachesIt) {
  auto here = versions({1, 2, 3});
  here[0].state = here[1].state = VersionState::remote;
  const auto there = snapshots({1, 2, 3});
  EXPECT_THAT(choose(there, here, newest(1)).wanted, IsEmpty());
  EXPECT_THAT(numbers(choose(there, here, newest(2)).wanted), ElementsAre(2));
  here[0].pulled = true;
  EXPECT_THAT(numbers(choose(there, here, std::nullopt).wanted), ElementsAre(1));
}

TEST(Choice, NewSnapshotsCountForWhatASubscriptionKeeps) {
  auto here = versions({1, 2});
  here[0].state = VersionState::remote;
  EXPECT_THAT(numbers(choose(snapshots({1, 2, 3}), here, newest(2)).wanted), ElementsAre(3));
}

TEST(Choice, TheTagCurrentIsTheNewestAndOtherTagsAreNothing) {
  const auto there = snapshots({1, 2});
  EXPECT_THAT(numbers(choose(there, {}, Subscription{.image = "disk", .tag = "current"}).wanted),
              ElementsAre(2));
  EXPECT_THAT(choose(there, {}, Subscription{.image = "disk", .tag = "stable"}).wanted, IsEmpty());
}

std::string parent_of(unsigned number, const std::vector<Snapshot>& there,
                      const std::vector<Version>& here) {
  const auto wanted = std::ranges::find(there, uuid(number), &Snapshot::uuid);
  const Snapshot* const parent = choose_parent(*wanted, there, here);
  return parent == nullptr ? "none" : parent->name;
}

TEST(Parent, TheNearestOlderOneThatIsHere) {
  const auto there = snapshots({1, 2, 3, 4});
  EXPECT_EQ(parent_of(4, there, versions({1, 2})), "2");
  EXPECT_EQ(parent_of(1, there, versions({3, 4})), "3");
  EXPECT_EQ(parent_of(4, there, {}), "none");
}

TEST(Parent, NotOneThatWasDroppedHereOrIsGoneThere) {
  auto here = versions({1, 2, 3});
  here[1].state = VersionState::remote;
  EXPECT_EQ(parent_of(4, snapshots({1, 2, 4}), here), "1");
}

TEST(Parent, NotAStranger) {
  auto there = snapshots({1, 2});
  there[0].parent_uuid = uuid(201);
  EXPECT_EQ(parent_of(2, there, versions({1})), "none");
}

TEST(Parent, OfReceivedSnapshotsTheChainIsTheLine) {
  // As btrfs receive leaves them: each a snapshot of the one before.
  auto there = snapshots({1, 2, 3});
  there[0].parent_uuid = std::nullopt;
  there[1].parent_uuid = there[0].uuid;
  there[2].parent_uuid = there[1].uuid;
  for (Snapshot& each : there)
    each.received_uuid = uuid(100 + static_cast<unsigned>(each.created_transaction));
  EXPECT_EQ(parent_of(3, there, versions({101})), "1");
}

}  // namespace
}  // namespace icbd::pull
