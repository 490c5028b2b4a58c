#include "open_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "icbd/base/file.h"

#include "harness/run.h"
#include "harness/temporary_directory.h"

namespace icbd::source {
namespace {

class OpenFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
    ASSERT_TRUE(harness::shell_checked("cd " + folder_->path().string() +
                                       "; mkdir d; touch a b c d/file; ln -s a soft; ln -s d sd"));
    auto root = open_file(folder_->path(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(root);
    root_ = std::move(*root);
  }

  std::optional<harness::TemporaryDirectory> folder_;
  unique_fd root_;
};

TEST_F(OpenFilesTest, KeepsWhatWasUsedLast) {
  OpenFiles files(root_.get(), 2);
  const auto a = files.open(FileIndex(1), "a", false);
  ASSERT_TRUE(a) << a.error().message();
  ASSERT_TRUE(files.open(FileIndex(2), "b", false));
  EXPECT_EQ(files.open(FileIndex(1), "a", false)->cached, a->cached) << "the same descriptor";
  ASSERT_TRUE(files.open(FileIndex(3), "c", false));
  EXPECT_EQ(files.open(FileIndex(1), "a", false)->cached, a->cached) << "b was used longest ago";
}

TEST_F(OpenFilesTest, WhatIsReadStaysOpen) {
  OpenFiles files(root_.get(), 1);
  const auto a = files.open(FileIndex(1), "a", false);
  ASSERT_TRUE(files.open(FileIndex(2), "b", false));
  EXPECT_GE(fcntl(a->cached->get(), F_GETFD), 0);
  EXPECT_NE(files.open(FileIndex(1), "a", false)->cached, a->cached);
}

TEST_F(OpenFilesTest, IsOpenedPastThePageCacheIfAskedFor) {
  OpenFiles files(root_.get(), 2);
  EXPECT_EQ(files.open(FileIndex(1), "a", false)->direct, nullptr);
  const auto b = files.open(FileIndex(2), "b", true);
  ASSERT_TRUE(b) << b.error().message();
  if (!b->direct) GTEST_SKIP() << "the filesystem of the temporary folder has no O_DIRECT";
  EXPECT_NE(fcntl(b->direct->get(), F_GETFL) & O_DIRECT, 0);
  EXPECT_EQ(fcntl(b->cached->get(), F_GETFL) & O_DIRECT, 0);
}

TEST_F(OpenFilesTest, NothingOutsideTheRootIsOpened) {
  OpenFiles files(root_.get(), 2);
  for (const char* path : {"../a", "/etc/passwd", "soft", "sd/file", "d/../../a"})
    EXPECT_FALSE(files.open(FileIndex(1), path, false)) << path;
  EXPECT_TRUE(files.open(FileIndex(1), "d/file", false));
}

}  // namespace
}  // namespace icbd::source
