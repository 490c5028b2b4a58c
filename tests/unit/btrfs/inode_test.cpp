#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"

namespace icbd::btrfs {
namespace {

class InodeTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(create_subvolume(path() / "a"));
    auto root = open_file(path() / "a", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(root);
    root_ = std::move(*root);
    subvolume_ = subvolume_info(root_.get())->id;
  }

  unique_fd make_file(const std::string& name, std::string_view content) {
    auto file = open_at(root_.get(), name, O_RDWR | O_CREAT, 0600);
    EXPECT_TRUE(file);
    EXPECT_TRUE(write_at(file->get(), as_bytes(content), 0));
    return std::move(*file);
  }

  static InodeNumber inode_of(int fd) {
    struct stat status{};
    EXPECT_EQ(fstat(fd, &status), 0);
    return InodeNumber(status.st_ino);
  }

  unique_fd root_;
  SubvolumeId subvolume_;
};

TEST_F(InodeTest, OpensAFileByItsNumber) {
  const InodeNumber inode = inode_of(make_file("file", "content").get());
  const auto opened = open_inode(root_.get(), subvolume_, inode, O_RDONLY);
  ASSERT_TRUE(opened) << opened.error().message();
  std::array<std::byte, 7> content;
  ASSERT_TRUE(read_exactly_at(opened->get(), content, 0));
  EXPECT_EQ(as_text(content), "content");
}

TEST_F(InodeTest, OpensWithoutReadingToo) {
  const InodeNumber inode = inode_of(make_file("file", "content").get());
  const auto opened = open_inode(root_.get(), subvolume_, inode, O_PATH);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(inode_of(opened->get()), inode);
}

TEST_F(InodeTest, TellsSnapshotsApart) {
  const unique_fd file = make_file("file", "old");
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", true));
  ASSERT_TRUE(write_at(file.get(), as_bytes("new"), 0));
  const auto snapshot = open_file(path() / "b", O_RDONLY | O_DIRECTORY);
  const auto opened =
      open_inode(root_.get(), subvolume_info(snapshot->get())->id, inode_of(file.get()), O_RDONLY);
  ASSERT_TRUE(opened) << opened.error().message();
  std::array<std::byte, 3> content;
  ASSERT_TRUE(read_exactly_at(opened->get(), content, 0));
  EXPECT_EQ(as_text(content), "old");
}

TEST_F(InodeTest, AMissingInodeIsNotFound) {
  const auto missing = open_inode(root_.get(), subvolume_, InodeNumber(99999), O_RDONLY);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  const auto elsewhere = open_inode(root_.get(), SubvolumeId(99999), InodeNumber(256), O_RDONLY);
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().code(), ErrorCode::not_found);
}

TEST_F(InodeTest, SaysWhereAnInodeIs) {
  std::filesystem::create_directories(path() / "a/with space/b");
  const unique_fd deep = make_file("with space/b/file", "");
  const unique_fd shallow = make_file("top", "");
  EXPECT_EQ(path_of_inode(root_.get(), inode_of(deep.get())).value(), "with space/b/file");
  EXPECT_EQ(path_of_inode(root_.get(), inode_of(shallow.get())).value(), "top");
  EXPECT_EQ(path_of_inode(root_.get(), InodeNumber(256)).value(), "") << "the root itself";
}

TEST_F(InodeTest, SaysWhereAnInodeIsInTheSubvolumeThatIsAsked) {
  const unique_fd file = make_file("old", "");
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", true));
  std::filesystem::rename(path() / "a/old", path() / "a/new");
  const auto snapshot = open_file(path() / "b", O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(path_of_inode(snapshot->get(), inode_of(file.get())).value(), "old");
  EXPECT_EQ(path_of_inode(root_.get(), inode_of(file.get())).value(), "new");
}

TEST_F(InodeTest, OfAFileWithSeveralNamesOneIsSaid) {
  const unique_fd file = make_file("one", "");
  std::filesystem::create_hard_link(path() / "a/one", path() / "a/two");
  const std::string name = path_of_inode(root_.get(), inode_of(file.get())).value();
  EXPECT_TRUE(name == "one" || name == "two") << name;
}

TEST_F(InodeTest, AMissingInodeIsNowhere) {
  const auto missing = path_of_inode(root_.get(), InodeNumber(99999));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

TEST_F(InodeTest, ClonesARange) {
  const std::string content = std::string(4096, 'a') + std::string(4096, 'b');
  const unique_fd source = make_file("source", content);
  const unique_fd destination = make_file("destination", std::string(8192, 'x'));
  ASSERT_TRUE(clone_range(source.get(), 4096, destination.get(), 0, 4096));
  std::array<std::byte, 8192> result;
  ASSERT_TRUE(read_exactly_at(destination.get(), result, 0));
  EXPECT_EQ(as_text(result), std::string(4096, 'b') + std::string(4096, 'x'));
}

TEST_F(InodeTest, WhatCannotBeClonedIsUnsupported) {
  const unique_fd source = make_file("source", std::string(8192, 'a'));
  const unique_fd destination = make_file("destination", std::string(8192, 'x'));
  const auto unaligned = clone_range(source.get(), 1, destination.get(), 0, 4096);
  ASSERT_FALSE(unaligned);
  EXPECT_EQ(unaligned.error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace icbd::btrfs
