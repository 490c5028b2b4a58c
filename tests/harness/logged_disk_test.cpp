// What is made of a log is what a disk could have held.
#include "harness/logged_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "icbd/base/file.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/temporary_directory.h"

namespace icbd::harness {
namespace {

constexpr std::uint64_t disk_size = std::uint64_t{128} << 20;

class LoggedDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto folder = TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
    auto disk = LoggedDisk::create(disk_size);
    ASSERT_TRUE(disk) << disk.error().message();
    disk_ = std::move(*disk);
    cut_.emplace(*disk_, folder_->path());
  }

  // The first bytes of the disk after a cut.
  std::string held(std::size_t moment, std::size_t size,
                   std::optional<std::uint64_t> seed = std::nullopt) {
    const auto image = cut_->image_at(moment, seed);
    EXPECT_TRUE(image) << image.error().message();
    const auto fd = open_file(*image, O_RDONLY);
    Bytes bytes(size);
    EXPECT_TRUE(read_exactly_at(fd->get(), bytes, 0));
    return std::string(as_text(bytes));
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<LoggedDisk> disk_;
  std::optional<PowerCut> cut_;
};

TEST_F(LoggedDiskTest, HoldsEveryFlushedWriteAndAnyOfTheOthers) {
  const auto fd = open_file(disk_->file(), O_RDWR);
  ASSERT_TRUE(fd) << fd.error().message();
  const auto write = [&](char letter, std::uint64_t block) {
    const std::string text(4096, letter);
    ASSERT_TRUE(write_at(fd->get(), as_bytes(text), block * 4096));
  };
  write('a', 0);
  write('b', 1);
  ASSERT_EQ(fsync(fd->get()), 0);
  const std::size_t flushed = disk_->moment();
  ASSERT_EQ(flushed, 3u);
  for (std::uint64_t block = 0; block < 20; ++block) write('c', block);

  const std::string before = std::string(4096, 'a') + std::string(4096, 'b');
  EXPECT_EQ(held(0, 8192), std::string(8192, '\0'));
  EXPECT_EQ(held(1, 8192), std::string(4096, 'a') + std::string(4096, '\0'));
  EXPECT_EQ(held(flushed, 8192), before);
  EXPECT_EQ(held(flushed, 8192, 7), before) << "what was flushed is never lost";
  EXPECT_EQ(held(disk_->moment(), 8192), std::string(8192, 'c'));
  const std::string some = held(disk_->moment(), 20 * 4096, 7);
  EXPECT_NE(some.find('c'), std::string::npos);
  EXPECT_NE(some.find('\0'), std::string::npos) << "of what was not flushed, some is lost";
  EXPECT_EQ(held(disk_->moment(), 20 * 4096, 7), some) << "the same for the same seed";
}

TEST_F(LoggedDiskTest, CarriesABtrfsWhosePowerCanBeCut) {
  ASSERT_TRUE(run_checked({"mkfs.btrfs", "--quiet", disk_->file().string()}));
  auto mounted = LoopBtrfs::open(disk_->file());
  ASSERT_TRUE(mounted) << mounted.error().message();
  ASSERT_TRUE(replace_file((*mounted)->path() / "file", as_bytes("safe")));
  const std::size_t safe = disk_->moment();
  ASSERT_TRUE(replace_file((*mounted)->path() / "file", as_bytes("later")));
  const Status closed = (*mounted)->close();
  ASSERT_TRUE(closed) << closed.error().message();

  const auto image = cut_->image_at(safe, 1);
  ASSERT_TRUE(image) << image.error().message();
  const auto after = LoopBtrfs::open(*image);
  ASSERT_TRUE(after) << after.error().message();
  EXPECT_EQ(as_text(*read_file((*after)->path() / "file", 100)), "safe");
}

}  // namespace
}  // namespace icbd::harness
