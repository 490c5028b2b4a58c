#include "open_nodes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "icbd/fs/node_id.h"

#include "fake_kernel.h"
#include "kernel_interface.h"

namespace icbd::fs {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

std::uint64_t node(std::uint32_t serial, std::uint64_t inode) {
  return encode(NodeId::of_content(VersionSerial(serial), InodeNumber(inode), true, 0)).value();
}

class OpenNodesTest : public ::testing::Test {
 protected:
  // What the kernel's request comes to: open_known(), and open() if the file is needed.
  Result<OpenNodes::Opened> open(std::uint64_t node, bool whole = true) {
    return open_as(unique_ += 2, node, whole);
  }
  Result<OpenNodes::Opened> open_as(std::uint64_t unique, std::uint64_t node, bool whole = true) {
    if (auto known = nodes_->open_known(node, unique)) return *known;
    return nodes_->open(node, unique, std::make_shared<FakeFile>(whole));
  }
  // The next process goes on with the memory of this one.
  void start_next() {
    unique_fd kept(::fcntl(memory_->fd(), F_DUPFD_CLOEXEC, 0));
    nodes_.reset();
    memory_.emplace(ConnectionMemory::attach(std::move(kept)).value());
    nodes_.emplace(*memory_, kernel_, make_silent_logger());
  }

  FakeKernel kernel_;
  std::optional<ConnectionMemory> memory_ = ConnectionMemory::create().value();
  std::optional<OpenNodes> nodes_{std::in_place, *memory_, kernel_, make_silent_logger()};
  std::uint64_t unique_ = 100;
  const std::uint64_t node_ = node(5, 257);
  const VersionSerial serial_{5};
};

TEST_F(OpenNodesTest, AFileThatIsHereIsReadByTheKernel) {
  const auto opened = open(node_);
  ASSERT_TRUE(opened);
  EXPECT_TRUE(opened->backing);
  EXPECT_EQ(nodes_->file(node_), nullptr) << "it needs no descriptor of ours";
  EXPECT_THAT(nodes_->served(), IsEmpty());
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
}

TEST_F(OpenNodesTest, AFileThatIsArrivingIsServed) {
  const auto opened = open(node_, false);
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->backing);
  EXPECT_NE(nodes_->file(node_), nullptr);
  ASSERT_THAT(nodes_->served(), SizeIs(1));
  EXPECT_EQ(nodes_->served()[0].node, node_);
  EXPECT_EQ(nodes_->served()[0].handles, 1u);
}

TEST_F(OpenNodesTest, ANodeKeepsItsModeUntilItsLastHandleIsClosed) {
  const auto first = open(node_, false), second = open(node_, true);
  EXPECT_FALSE(second->backing) << "the file has arrived meanwhile";
  nodes_->close(first->handle);
  EXPECT_FALSE(open(node_, true)->backing);
  nodes_->close(second->handle);
  nodes_->close(open(node_, true)->handle);
}

TEST_F(OpenNodesTest, AServedNodeThatWasClosedIsChosenForAnew) {
  nodes_->close(open(node_, false)->handle);
  EXPECT_EQ(nodes_->file(node_), nullptr);
  EXPECT_TRUE(open(node_, true)->backing);
}

TEST_F(OpenNodesTest, AllOpensShareOneBackingFileAndSoDoLaterOnes) {
  const auto first = open(node_), second = open(node_);
  EXPECT_NE(first->handle, second->handle);
  EXPECT_EQ(first->backing, second->backing);
  nodes_->close(first->handle);
  nodes_->close(second->handle);
  const auto known = nodes_->open_known(node_, unique_ += 2);
  ASSERT_TRUE(known) << "the file is not needed for it";
  EXPECT_EQ((*known)->backing, first->backing);
  EXPECT_THAT(kernel_.backings(), SizeIs(1));
}

TEST_F(OpenNodesTest, WithoutPassthroughOrRoomInTheKernelFilesAreServed) {
  kernel_.passthrough = false;
  EXPECT_FALSE(open(node_)->backing);
  kernel_.passthrough = true;
  kernel_.refuse = true;
  EXPECT_FALSE(open(node(5, 258))->backing);
}

TEST_F(OpenNodesTest, AHandleThatIsClosedTwiceOrUnknownIsIgnored) {
  const auto first = open(node_), second = open(node_);
  nodes_->close(first->handle);
  nodes_->close(first->handle);
  nodes_->close(~std::uint64_t{0});
  nodes_->close(0);
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
  const auto third = open(node_);  // in the slot of the first
  nodes_->close(first->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 2u) << "a resent release must not close another file";
  nodes_->close(second->handle);
  nodes_->close(third->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 0u);
}

TEST_F(OpenNodesTest, FilesOfEachVersionAreCounted) {
  ASSERT_TRUE(open(node(5, 257)));
  ASSERT_TRUE(open(node(5, 258), false));
  const auto other = open(node(6, 257));
  EXPECT_EQ(nodes_->open_handles(VersionSerial(5)), 2u);
  EXPECT_EQ(nodes_->open_handles(VersionSerial(6)), 1u);
  nodes_->close(other->handle);
  EXPECT_EQ(nodes_->open_handles(VersionSerial(6)), 0u);
}

TEST_F(OpenNodesTest, ForgettingGivesBackWhatNobodyHasOpenOfThatVersion) {
  nodes_->close(open(node(5, 257))->handle);
  nodes_->close(open(node(6, 257))->handle);
  EXPECT_TRUE(open(node(5, 258)));
  EXPECT_THAT(kernel_.backings(), SizeIs(3));
  nodes_->forget(VersionSerial(5));
  EXPECT_THAT(kernel_.backings(), SizeIs(2));
  EXPECT_FALSE(nodes_->open_known(node(5, 257), unique_ += 2))
      << "whether it is there is looked up";
}

TEST_F(OpenNodesTest, AVersionOfWhichAFileIsOpenIsNotForgotten) {
  const auto held = open(node(5, 258));
  nodes_->close(open(node(5, 257))->handle);
  EXPECT_EQ(nodes_->forget_unless_open(VersionSerial(5)), 1u);
  EXPECT_THAT(kernel_.backings(), SizeIs(2));
  const auto again = open(node(5, 258));
  ASSERT_TRUE(again) << "it can still be opened";
  nodes_->close(held->handle);
  nodes_->close(again->handle);
  EXPECT_EQ(nodes_->forget_unless_open(VersionSerial(5)), 0u);
  EXPECT_THAT(kernel_.backings(), IsEmpty());
}

TEST_F(OpenNodesTest, WhatIsOpenWhenItsVersionGoesCanBeReadButNotOpenedAgain) {
  const auto held = open(node(5, 258));
  nodes_->forget(VersionSerial(5));
  EXPECT_THAT(kernel_.backings(), SizeIs(1)) << "the kernel goes on reading it";
  EXPECT_EQ(open(node(5, 258)).error().errno_value(), ESTALE);
  nodes_->close(held->handle);
  EXPECT_THAT(kernel_.backings(), IsEmpty());
  EXPECT_TRUE(open(node(5, 258))) << "another file, if its inode's number comes again";
}

TEST_F(OpenNodesTest, OnlySoManyFilesThatNobodyHasOpenStayWithTheKernel) {
  for (std::uint64_t inode = 0; inode < OpenNodes::most_idle + 10; ++inode)
    nodes_->close(open(node(5, 300 + inode))->handle);
  EXPECT_THAT(kernel_.backings(), SizeIs(OpenNodes::most_idle));
  EXPECT_FALSE(nodes_->open_known(node(5, 300), unique_ += 2)) << "the oldest goes first";
  EXPECT_TRUE(nodes_->open_known(node(5, 310), unique_ += 2));
}

TEST_F(OpenNodesTest, AFileIsKeptForAnOpenNodeOnly) {
  const auto mine = std::make_shared<FakeFile>(true), others = std::make_shared<FakeFile>(true);
  EXPECT_EQ(nodes_->keep_file(node_, mine), mine) << "for this one request";
  EXPECT_EQ(nodes_->file(node_), nullptr);
  const auto opened = open(node_);
  EXPECT_EQ(nodes_->keep_file(node_, mine), mine);
  EXPECT_EQ(nodes_->keep_file(node_, others), mine) << "somebody was faster";
  nodes_->close(opened->handle);
  EXPECT_EQ(nodes_->file(node_), nullptr);
  EXPECT_EQ(nodes_->keep_file(node_, others), others);
  EXPECT_EQ(nodes_->file(node_), nullptr) << "nobody has it open";
}

TEST_F(OpenNodesTest, TooManyOpenFilesAreENFILEAndClosingOneMakesRoom) {
  kernel_.passthrough = false;
  std::vector<std::uint64_t> handles;
  for (std::uint32_t i = 0; i < ConnectionMemory::most_handles; ++i)
    handles.push_back(open(node_)->handle);
  EXPECT_EQ(to_errno(open(node_).error()), ENFILE);
  EXPECT_EQ(to_errno(open(node(5, 258)).error()), ENFILE);
  EXPECT_EQ(nodes_->file(node(5, 258)), nullptr) << "nothing of it stays";
  nodes_->close(handles.back());
  EXPECT_TRUE(open(node(5, 258)));
}

// ---- the next process ------------------------------------------------------------------------

TEST_F(OpenNodesTest, TheNextProcessGoesOnInTheSameModes) {
  const auto passthrough = open(node_);
  const auto served = open(node(5, 258), false);
  const auto idle = open(node(5, 259));
  nodes_->close(idle->handle);
  start_next();
  EXPECT_EQ(nodes_->open_handles(serial_), 2u);
  EXPECT_EQ(open(node_)->backing, passthrough->backing);
  EXPECT_FALSE(open(node(5, 258), true)->backing);
  EXPECT_EQ(nodes_->open_known(node(5, 259), unique_ += 2).value()->backing, idle->backing);
  EXPECT_EQ(nodes_->file(node(5, 258)), nullptr) << "opened when it is read";
  nodes_->close(passthrough->handle);
  nodes_->close(served->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 3u);
}

TEST_F(OpenNodesTest, ARequestThatIsSentAgainGetsTheHandleThatItWasGiven) {
  const auto first = open_as(500, node_);
  start_next();
  const auto again = open_as(500 | kernel::unique_resend, node_);
  EXPECT_EQ(again->handle, first->handle);
  EXPECT_EQ(again->backing, first->backing);
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
  start_next();
  EXPECT_EQ(open_as(500 | kernel::unique_resend, node_)->handle, first->handle)
      << "that one was killed, too";
}

TEST_F(OpenNodesTest, ARequestThatIsSentAgainAndWasNeverDoneIsDoneNow) {
  start_next();
  const auto opened = open_as(500 | kernel::unique_resend, node_);
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
  start_next();
  EXPECT_EQ(open_as(500 | kernel::unique_resend, node_)->handle, opened->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
}

TEST_F(OpenNodesTest, AReleaseThatIsSentAgainIsDoneOnce) {
  const auto first = open(node_), second = open(node_);
  nodes_->close(first->handle);
  start_next();
  nodes_->close(first->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 1u);
  const auto third = open(node_);
  nodes_->close(first->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 2u);
  nodes_->close(second->handle);
  nodes_->close(third->handle);
  EXPECT_EQ(nodes_->open_handles(serial_), 0u);
}

// Whatever one process leaves the kernel with, the next one knows or gives back.
TEST_F(OpenNodesTest, NoBackingFileIsLostWhereverTheProcessIsKilled) {
  for (unsigned moment = 0; moment < 8; ++moment) {
    SCOPED_TRACE(moment);
    kernel_.kill_in = moment;
    try {
      nodes_->close(open(node_)->handle);
      nodes_->forget(serial_);
    } catch (const Killed&) {
    }
    kernel_.kill_in.reset();
    start_next();
    nodes_->close(open(node_)->handle);
    EXPECT_THAT(kernel_.backings(), SizeIs(1));
    nodes_->forget(serial_);
    EXPECT_THAT(kernel_.backings(), IsEmpty());
  }
}

}  // namespace
}  // namespace icbd::fs
