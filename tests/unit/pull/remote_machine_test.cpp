// What is found at the other end of a real ssh, and what is said when it cannot be.
#include "remote_machine.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>

#include "pull_fixture.h"

namespace icbd::pull {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RemoteMachineTest : public PullTest {
 protected:
  Result<Images> images(const Machine& of) { return RemoteMachine(of).images(cancelled_); }
  Error failure(const Machine& of) {
    const auto found = images(of);
    EXPECT_FALSE(found);
    return found ? Error(ErrorCode::internal, "it worked") : found.error();
  }
  Listing list(const std::string& image) {
    auto listed = RemoteMachine(machine()).snapshots(std::vector{image}, cancelled_);
    EXPECT_TRUE(listed) << listed.error().message();
    return listed ? (*listed)[image] : Listing();
  }

  std::atomic<bool> cancelled_ = false;
};

TEST_F(RemoteMachineTest, DirectoriesAreImagesAndReadOnlySubvolumesAreSnapshots) {
  there(
      "mkdir disk tools '.hidden' 'no image'; ln -s disk link; touch file\n"
      "btrfs -q subvolume create live; mkdir disk/directory; touch disk/file\n"
      "btrfs -q subvolume snapshot live disk/writable\n"
      "btrfs -q subvolume snapshot -r live disk/first\n"
      "btrfs -q subvolume snapshot -r live disk/second\n"
      "mkdir disk/7; btrfs -q subvolume snapshot -r live disk/7/snapshot");
  const auto found = images(machine());
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_TRUE(found->stamps.contains("disk"));
  EXPECT_TRUE(found->stamps.contains("tools"));
  EXPECT_FALSE(found->stamps.contains("link"));
  EXPECT_THAT(found->skipped, ElementsAre(HasSubstr("no image")));
  EXPECT_EQ(found->stream_version, 2u);
  const Listing listing = list("disk");
  ASSERT_THAT(listing.snapshots, SizeIs(3));
  EXPECT_EQ(listing.snapshots[0].name, "first");
  EXPECT_EQ(listing.snapshots[1].name, "second");
  EXPECT_EQ(listing.snapshots[2].name, "7");
  EXPECT_TRUE(listing.unfinished);
  EXPECT_THAT(listing.skipped, IsEmpty());
}

TEST_F(RemoteMachineTest, AStampChangesWhenASnapshotComes) {
  there("mkdir disk; btrfs -q subvolume create live");
  const std::string before = images(machine())->stamps["disk"];
  EXPECT_EQ(images(machine())->stamps["disk"], before);
  there("btrfs -q subvolume snapshot -r live disk/first");
  EXPECT_NE(images(machine())->stamps["disk"], before);
}

TEST_F(RemoteMachineTest, NamesMayHoldWhatNamesHold) {
  const std::string name = R"(it's "$HOME" `id` ; * \ $(id) ü)";
  there("mkdir disk; btrfs -q subvolume create live; echo content >live/file");
  const auto source = there_path() / "disk" / name;
  ASSERT_TRUE(harness::run_checked(
      {"btrfs", "-q", "subvolume", "snapshot", "-r", there_path() / "live", source}));
  const Listing listing = list("disk");
  ASSERT_THAT(listing.snapshots, SizeIs(1));
  EXPECT_EQ(listing.snapshots[0].name, name);
  std::size_t bytes = 0;
  const Status sent = RemoteMachine(machine()).send(listing.snapshots[0], nullptr, true, cancelled_,
                                                    [&](ByteView piece) -> Status {
                                                      bytes += piece.size();
                                                      return {};
                                                    });
  EXPECT_TRUE(sent) << sent.error().message();
  EXPECT_GT(bytes, 100u);
}

TEST_F(RemoteMachineTest, AnotherHostKeyIsRefusedInClearWords) {
  server_->stop();
  ASSERT_TRUE(server_->change_host_key());
  ASSERT_TRUE(server_->start());
  const Error error = failure(machine());
  EXPECT_EQ(error.code(), ErrorCode::permission_denied);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("shows another host key than the one that is known"),
                                     HasSubstr("ssh-keygen -R")));
}

TEST_F(RemoteMachineTest, AHostThatNobodyKnowsIsRefused) {
  Machine unknown = machine();
  unknown.known_hosts = there_path() / "none";
  const Error error = failure(unknown);
  EXPECT_EQ(error.code(), ErrorCode::permission_denied);
  EXPECT_THAT(error.message(), HasSubstr("host key of 127.0.0.1 is not known"));
}

TEST_F(RemoteMachineTest, AKeyThatIsNotAcceptedIsSaid) {
  Machine other = machine();
  other.key = server_->other_key();
  const Error error = failure(other);
  EXPECT_EQ(error.code(), ErrorCode::permission_denied);
  EXPECT_THAT(error.message(), HasSubstr("does not accept the key"));
}

TEST_F(RemoteMachineTest, AMachineWithoutBtrfsIsSaid) {
  Machine bare = machine();
  bare.remote_command = "no-such-btrfs";
  const Error error = failure(bare);
  EXPECT_EQ(error.code(), ErrorCode::unsupported);
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("there is no btrfs on 127.0.0.1"), HasSubstr("no-such-btrfs")));
}

TEST_F(RemoteMachineTest, ADirectoryThatIsNotThereIsSaid) {
  Machine elsewhere = machine();
  elsewhere.directory = "/there is/nothing";
  const Error error = failure(elsewhere);
  EXPECT_EQ(error.code(), ErrorCode::io);
  EXPECT_THAT(error.message(), HasSubstr("/there is/nothing"));
}

TEST_F(RemoteMachineTest, AMachineThatIsDownIsUnavailable) {
  server_->stop();
  EXPECT_EQ(failure(machine()).code(), ErrorCode::unavailable);
}

// Sudo for nothing but btrfs: here a program that takes its place.
TEST_F(RemoteMachineTest, BtrfsCanBeRunBySomethingElse) {
  there("mkdir disk; btrfs -q subvolume create live; btrfs -q subvolume snapshot -r live disk/a");
  Machine with_env = machine();
  with_env.remote_command = "env  LC_ALL=C btrfs";
  auto listed = RemoteMachine(with_env).snapshots(std::vector<std::string>{"disk"}, cancelled_);
  ASSERT_TRUE(listed) << listed.error().message();
  EXPECT_THAT((*listed)["disk"].snapshots, SizeIs(1));
}

}  // namespace
}  // namespace icbd::pull
