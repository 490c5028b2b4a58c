// What is received from where there is no manifest becomes a version, or leaves nothing.
#include "icbd/repository/incoming.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/repository/verify.h"

#include "harness/tree.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class IncomingTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    in_live("head -c 2M /dev/urandom > disk.raw; echo one > motd");
  }

  IncomingSnapshot of(const Uuid& uuid) const {
    return {.image = "disk", .uuid = uuid, .message = "monday", .published = {.seconds = 7}};
  }
  // What a receiver does with the live subvolume's stream.
  void receive(const Incoming& incoming, const Uuid& uuid) {
    const auto place = incoming.directory() / incoming.name();
    ASSERT_TRUE(btrfs::create_snapshot(live(), place, false));
    const auto root = open_file(place, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(root);
    ASSERT_TRUE(btrfs::set_received(root->get(), uuid, 5));
    ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
  }
  Result<PublishReport> bring(const Uuid& uuid) {
    ICBD_ASSIGN(Incoming incoming, Incoming::begin(*repository_, of(uuid)));
    receive(incoming, uuid);
    PublishProgress progress;
    return incoming.commit(progress);
  }
  std::vector<std::string> names_in(const std::filesystem::path& folder) const {
    std::vector<std::string> names;
    if (std::filesystem::exists(folder))
      for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    return names;
  }
};

TEST_F(IncomingTest, BecomesTheNextVersionAndKeepsItsIdentity) {
  const Uuid first = Uuid::random();
  const auto one = bring(first);
  ASSERT_TRUE(one) << one.error().message();
  in_live("echo two > motd");
  const auto two = bring(Uuid::random());
  ASSERT_TRUE(two) << two.error().message();
  EXPECT_EQ(one->version.facts.uuid, first);
  EXPECT_EQ(one->version.facts.number, VersionNumber(1));
  EXPECT_EQ(one->version.facts.message, "monday");
  EXPECT_EQ(one->version.facts.published, Timestamp{.seconds = 7});
  EXPECT_EQ(two->version.facts.parent, VersionNumber(1));
  EXPECT_LT(two->bytes_hashed, 200'000u);  // the rest is the version's before
  EXPECT_EQ(harness::diff_trees(live(), directory() / "disk/2"), "");
  reopen();
  EXPECT_THAT(repository_->recovery_findings(), IsEmpty());
  VerifyProgress progress;
  EXPECT_THAT(verify_version(*repository_, two->version, progress)->problems, IsEmpty());
}

TEST_F(IncomingTest, WhatIsNotCommittedLeavesNothing) {
  const Uuid uuid = Uuid::random();
  {
    auto incoming = Incoming::begin(*repository_, of(uuid));
    ASSERT_TRUE(incoming) << incoming.error().message();
    receive(*incoming, uuid);
  }
  EXPECT_THAT(names_in(directory() / "disk"), IsEmpty());
  EXPECT_THAT(names_in(directory() / ".icbd/manifests/disk"), IsEmpty());
  EXPECT_EQ(repository_->catalog().versions()->size(), 0u);
}

TEST_F(IncomingTest, WhatAKilledOneHasLeftIsRemovedAtTheNextStart) {
  const Uuid uuid = Uuid::random();
  auto incoming = Incoming::begin(*repository_, of(uuid));
  ASSERT_TRUE(incoming);
  const auto staging = incoming->directory() / (incoming->name() + ".receiving");
  ASSERT_TRUE(btrfs::create_subvolume(staging));
  repository_.reset();
  reopen();
  EXPECT_FALSE(std::filesystem::exists(staging));
  ASSERT_FALSE(repository_->recovery_findings().empty());
  EXPECT_TRUE(repository_->recovery_findings().front().settled);
}

TEST_F(IncomingTest, AnotherSnapshotThanWasAskedForIsRefused) {
  auto incoming = Incoming::begin(*repository_, of(Uuid::random()));
  ASSERT_TRUE(incoming);
  receive(*incoming, Uuid::random());
  PublishProgress progress;
  const auto committed = incoming->commit(progress);
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().code(), ErrorCode::corrupt);
  EXPECT_EQ(repository_->catalog().versions()->size(), 0u);
}

TEST_F(IncomingTest, OneThatIsHereIsNotTakenTwice) {
  const Uuid uuid = Uuid::random();
  ASSERT_TRUE(bring(uuid));
  const auto again = Incoming::begin(*repository_, of(uuid));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  EXPECT_THAT(again.error().message(), HasSubstr("it has the identity (UUID " + uuid.to_string()));
  EXPECT_THAT(names_in(directory() / "disk"), testing::ElementsAre("1"));
}

TEST_F(IncomingTest, ADroppedVersionComesBackWithItsNumberOrNotAtAll) {
  const Uuid uuid = Uuid::random();
  const auto first = bring(uuid);
  ASSERT_TRUE(first);
  ASSERT_TRUE(btrfs::create_snapshot(live(), path() / "kept", false));
  ASSERT_TRUE(repository_->drop_version(first->version));
  in_live("echo changed > motd");
  const auto other = bring(uuid);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message(), HasSubstr("other content than disk@1 had"));
  EXPECT_EQ(repository_->catalog().version(first->version.serial)->state, VersionState::remote);
  ASSERT_TRUE(btrfs::delete_subvolume(live()));
  ASSERT_TRUE(btrfs::create_snapshot(path() / "kept", live(), false));
  const auto again = bring(uuid);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->version.facts, first->version.facts);
  EXPECT_EQ(again->version.state, VersionState::complete);
}

}  // namespace
}  // namespace icbd::repository
