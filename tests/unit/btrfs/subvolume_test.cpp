#include "icbd/btrfs/subvolume.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "icbd/base/file.h"

#include "harness/loop_btrfs.h"
#include "harness/temporary_directory.h"

namespace icbd::btrfs {
namespace {

class SubvolumeTest : public harness::BtrfsTest {
 protected:
  // The info of a subvolume that has to be there.
  SubvolumeInfo info(const std::filesystem::path& path) const {
    const auto root = open_file(path, O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(root);
    const auto result = subvolume_info(root->get());
    EXPECT_TRUE(result) << result.error().message();
    return *result;
  }
};

TEST_F(SubvolumeTest, TellsBtrfsFromOtherFilesystems) {
  EXPECT_TRUE(*is_btrfs(path()));
  EXPECT_FALSE(*is_btrfs("/proc"));
  const auto missing = is_btrfs(path() / "missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

TEST_F(SubvolumeTest, TellsSubvolumesFromDirectories) {
  ASSERT_TRUE(create_subvolume(path() / "subvolume"));
  ASSERT_EQ(mkdir((path() / "directory").c_str(), 0755), 0);
  EXPECT_TRUE(*is_subvolume(path() / "subvolume"));
  EXPECT_FALSE(*is_subvolume(path() / "directory"));
  EXPECT_FALSE(*is_subvolume("/proc"));
  EXPECT_FALSE(is_subvolume(path() / "missing"));
}

TEST_F(SubvolumeTest, CreatingOverSomethingFailsAndNamesThePath) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  const auto again = create_subvolume(path() / "a");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  EXPECT_NE(again.error().message().find((path() / "a").string()), std::string::npos);
}

TEST_F(SubvolumeTest, ASnapshotKnowsItsParentAndHasAUuidOfItsOwn) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", true));
  const SubvolumeInfo a = info(path() / "a");
  const SubvolumeInfo b = info(path() / "b");
  EXPECT_FALSE(a.read_only);
  EXPECT_TRUE(b.read_only);
  EXPECT_NE(a.uuid, b.uuid);
  EXPECT_NE(a.id, b.id);
  EXPECT_EQ(b.parent_uuid, a.uuid);
  EXPECT_EQ(b.received_uuid, std::nullopt);
  EXPECT_EQ(b.identity(), b.uuid);
}

TEST_F(SubvolumeTest, TheReceivedUuidIsSetBeforeTheReadOnlyFlag) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  const auto root = open_file(path() / "a", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(root);
  const Uuid uuid = Uuid::random();
  ASSERT_TRUE(set_received(root->get(), uuid, 17));
  ASSERT_TRUE(set_read_only(root->get(), true));

  const SubvolumeInfo received = info(path() / "a");
  EXPECT_EQ(received.received_uuid, uuid);
  EXPECT_EQ(received.send_transaction, 17u);
  EXPECT_EQ(received.identity(), uuid);
  EXPECT_TRUE(received.read_only);
  EXPECT_FALSE(set_received(root->get(), Uuid::random(), 18));
}

TEST_F(SubvolumeTest, OnlyAWritableSnapshotForgetsTheReceivedUuid) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  const auto root = open_file(path() / "a", O_RDONLY | O_DIRECTORY);
  const Uuid uuid = Uuid::random();
  ASSERT_TRUE(set_received(root->get(), uuid, 17));
  ASSERT_TRUE(set_read_only(root->get(), true));
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "writable", false));
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "read-only", true));
  EXPECT_EQ(info(path() / "writable").received_uuid, std::nullopt);
  EXPECT_EQ(info(path() / "read-only").received_uuid, uuid);
}

TEST_F(SubvolumeTest, DeletesReadOnlySnapshotsButNotWhatHasSubvolumesInside) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", true));
  ASSERT_TRUE(create_subvolume(path() / "a" / "nested"));
  EXPECT_FALSE(delete_subvolume(path() / "a"));
  EXPECT_TRUE(delete_subvolume(path() / "b"));
  EXPECT_FALSE(std::filesystem::exists(path() / "b"));
  EXPECT_TRUE(delete_subvolume(path() / "a" / "nested"));
  EXPECT_TRUE(delete_subvolume(path() / "a"));
}

TEST_F(SubvolumeTest, WhatWasSyncedIsThereAfterRemounting) {
  ASSERT_TRUE(create_subvolume(path() / "a"));
  {
    const auto file = open_file(path() / "a" / "file", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_at(file->get(), as_bytes("content"), 0));
    ASSERT_TRUE(sync_filesystem(file->get()));
  }
  ASSERT_TRUE(btrfs_->remount());
  const auto content = read_file(path() / "a" / "file", 100);
  ASSERT_TRUE(content);
  EXPECT_EQ(as_text(*content), "content");
}

TEST_F(SubvolumeTest, ReportsTheFilesystemsSpace) {
  const auto root = open_file(path(), O_RDONLY | O_DIRECTORY);
  const auto space = filesystem_space(root->get());
  ASSERT_TRUE(space);
  EXPECT_EQ(space->total_bytes, btrfs_options().size_bytes);
  EXPECT_GT(space->free_bytes, 0u);
  EXPECT_LT(space->free_bytes, space->total_bytes);
}

TEST(SubvolumeInfoTest, AsksOnlyBtrfs) {
  const auto proc = open_file("/proc", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(proc);
  const auto result = subvolume_info(proc->get());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace icbd::btrfs
