#include "snapshots.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace icbd::pull {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::string_view one_uuid = "11111111-1111-1111-1111-111111111111";
constexpr std::string_view other_uuid = "22222222-2222-2222-2222-222222222222";

// Texts with a NUL behind each.
std::string fields(std::initializer_list<std::string_view> texts) {
  std::string all;
  for (const std::string_view text : texts) all.append(text).push_back('\0');
  return all;
}

// As btrfs-progs 6.2 writes it.
std::string shown(std::string_view uuid, unsigned generation, std::string_view flags = "readonly",
                  std::string_view received = "-") {
  return fmt::format(
      "snapshots/1\n\tName: \t\t\t1\n\tUUID: \t\t\t{}\n\tParent UUID: \t\t{}\n"
      "\tReceived UUID: \t\t{}\n\tCreation time: \t\t2026-11-20 13:45:00 +0100\n"
      "\tSubvolume ID: \t\t257\n\tGeneration: \t\t9\n\tGen at creation: \t{}\n"
      "\tParent ID: \t\t5\n\tTop level ID: \t\t5\n\tFlags: \t\t\t{}\n\tSend transid: \t\t0\n"
      "\tSnapshot(s):\n\t\t\t\tx\n",
      uuid, other_uuid, received, generation, flags);
}

Listing listing_of(std::initializer_list<std::string_view> texts) {
  std::string answer = fields({"image", "win11"}) + fields(texts) + fields({"end"});
  auto parsed = parse_snapshots(answer);
  EXPECT_TRUE(parsed) << parsed.error().message();
  return parsed ? std::move((*parsed)["win11"]) : Listing();
}

TEST(Images, AreListedWithTheirStampsAndWhatCanBeSent) {
  const auto images = parse_images(fields({"icbd", "3\n", "btrfs-progs v6.2\n", "image", "win11",
                                           "256 now", "image", "debian", "257 then", "end"}));
  ASSERT_TRUE(images) << images.error().message();
  EXPECT_THAT(images->stamps,
              UnorderedElementsAre(std::pair("win11", "256 now"), std::pair("debian", "257 then")));
  EXPECT_EQ(images->stream_version, 3u);
}

TEST(Images, OldProgramsSendVersion1WhateverTheirKernelCan) {
  for (const std::string_view programs : {"btrfs-progs v5.10.1", "", "busybox"})
    EXPECT_EQ(parse_images(fields({"icbd", "2", programs, "end"}))->stream_version, 1u);
  EXPECT_EQ(parse_images(fields({"icbd", "", "btrfs-progs v6.6", "end"}))->stream_version, 1u);
}

TEST(Images, ADirectoryThatCannotNameAnImageIsSkippedAndSaid) {
  const auto images = parse_images(
      fields({"icbd", "2", "btrfs-progs v6.2", "image", "win 11", "s", "image", "ok", "s", "end"}));
  ASSERT_TRUE(images);
  EXPECT_THAT(images->stamps, SizeIs(1));
  EXPECT_THAT(images->skipped, ElementsAre(HasSubstr("\"win 11\"")));
}

TEST(Images, AnAnswerThatWasCutOffOrIsSomethingElseIsAnError) {
  const std::string whole = fields({"icbd", "2", "v", "image", "win11", "s", "end"});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(parse_images(whole.substr(0, length))) << length;
  EXPECT_FALSE(parse_images("Welcome to disks.example!\n" + whole));
}

TEST(Snapshots, AreReadOnlySubvolumesInTheOrderInWhichTheyWereMade) {
  const std::string third = shown("33333333-3333-3333-3333-333333333333", 12);
  const Listing listing = listing_of(
      {"snapshot", "win11/a", shown(one_uuid, 20), "0", "snapshot", "win11/b", third, "0"});
  ASSERT_THAT(listing.snapshots, SizeIs(2));
  EXPECT_EQ(listing.snapshots[0].name, "b");
  const Snapshot& last = listing.snapshots[1];
  EXPECT_EQ(last.path, "win11/a");
  EXPECT_EQ(last.uuid.to_string(), one_uuid);
  EXPECT_EQ(last.parent_uuid->to_string(), other_uuid);
  EXPECT_FALSE(last.received_uuid);
  EXPECT_EQ(last.created_transaction, 20u);
  EXPECT_EQ(last.created.seconds, 1795178700);  // date -d '2026-11-20 13:45:00 +0100' +%s
  EXPECT_FALSE(listing.unfinished);
}

TEST(Snapshots, AWritableOneMayBecomeOneLater) {
  const Listing listing = listing_of({"snapshot", "win11/a", shown(one_uuid, 20, "-"), "0"});
  EXPECT_THAT(listing.snapshots, IsEmpty());
  EXPECT_THAT(listing.skipped, IsEmpty());
  EXPECT_TRUE(listing.unfinished);
}

TEST(Snapshots, SnappersLieOneDirectoryDeeper) {
  const Listing listing = listing_of({"snapshot", "win11/7/snapshot", shown(one_uuid, 20), "0"});
  ASSERT_THAT(listing.snapshots, SizeIs(1));
  EXPECT_EQ(listing.snapshots[0].name, "7");
  EXPECT_EQ(listing.snapshots[0].path, "win11/7/snapshot");
}

TEST(Snapshots, TwoOfOneIdentityAreOne) {
  const std::string third = "33333333-3333-3333-3333-333333333333";
  const Listing listing =
      listing_of({"snapshot", "win11/copy", shown(third, 30, "readonly", one_uuid), "0", "snapshot",
                  "win11/a", shown(other_uuid, 20, "readonly", one_uuid), "0"});
  ASSERT_THAT(listing.snapshots, SizeIs(1));
  EXPECT_EQ(listing.snapshots[0].name, "a");
  EXPECT_THAT(listing.skipped, ElementsAre(HasSubstr("same snapshot as \"win11/a\"")));
}

TEST(Snapshots, NamesThatAreNoneAreSkipped) {
  for (const std::string path : {"win11/", "win11/..", "win11/a/b", "other/a", "win11",
                                 "win11/a\nb", "/etc/passwd", "", "win11/\x7f", "win11/.."}) {
    const Listing listing = listing_of({"snapshot", path, shown(one_uuid, 20), "0"});
    EXPECT_THAT(listing.snapshots, IsEmpty()) << path;
    EXPECT_THAT(listing.skipped, SizeIs(1)) << path;
  }
  const Listing longest =
      listing_of({"snapshot", "win11/" + std::string(256, 'x'), shown(one_uuid, 20), "0"});
  EXPECT_THAT(longest.snapshots, IsEmpty());
}

TEST(Snapshots, WhatCannotBeShownIsSkippedAndSaid) {
  const Listing listing =
      listing_of({"snapshot", "win11/a", "", "1", "snapshot", "win11/b", "something else", "0",
                  "snapshot", "win11/c", shown("not a uuid", 3), "0"});
  EXPECT_THAT(listing.snapshots, IsEmpty());
  EXPECT_EQ(listing.skipped.size() + (listing.unfinished ? 1 : 0), 3u);
}

TEST(Snapshots, AnAnswerThatWasCutOffIsAnError) {
  const std::string whole =
      fields({"image", "win11", "snapshot", "win11/a", shown(one_uuid, 20), "0", "end"});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(parse_snapshots(whole.substr(0, length))) << length;
  EXPECT_TRUE(parse_snapshots(whole));
  EXPECT_FALSE(parse_snapshots(fields({"snapshot", "win11/a", "", "0", "end"})));
}

}  // namespace
}  // namespace icbd::pull
