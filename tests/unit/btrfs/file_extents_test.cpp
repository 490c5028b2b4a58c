#include "icbd/btrfs/file_extents.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <random>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"

namespace icbd::btrfs {
namespace {

using Kind = FileExtent::Kind;

constexpr std::uint64_t block = 128 * 1024;

class FileExtentsTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(create_subvolume(path() / "a"));
    file_ = open_to_write(path() / "a/file");
    Bytes content(16 * block);
    std::mt19937_64 random(1);
    for (std::byte& byte : content) byte = static_cast<std::byte>(random());
    ASSERT_TRUE(write_at(file_.get(), content, 0));
  }

  static unique_fd open_to_write(const std::filesystem::path& file) {
    auto opened = open_file(file, O_RDWR | O_CREAT, 0600);
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }

  std::vector<FileExtent> extents(int fd, ByteRange window) {
    EXPECT_TRUE(sync_filesystem(fd));
    struct stat status{};
    EXPECT_EQ(fstat(fd, &status), 0);
    const auto found = file_extents(fd, InodeNumber(status.st_ino), window);
    EXPECT_TRUE(found) << found.error().message();
    return found.value_or(std::vector<FileExtent>{});
  }

  void snapshot() {
    ASSERT_TRUE(sync_filesystem(file_.get()));
    ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", false));
    copy_ = open_to_write(path() / "b/file");
  }

  unique_fd file_;
  unique_fd copy_;
};

// What fallocate(2) reserves is in pieces of 256 MiB, and stays so when it is written.
TEST_F(FileExtentsTest, AreFoundAlsoWhenTheyBeginFarBefore) {
  constexpr std::uint64_t piece = std::uint64_t{256} * 1024 * 1024;
  constexpr std::uint64_t begin = 100 * 1024 * 1024;
  auto disk = harness::LoopBtrfs::create({.size_bytes = std::uint64_t{6} << 30});
  ASSERT_TRUE(disk) << disk.error().message();
  const unique_fd file = open_to_write((*disk)->path() / "file");
  ASSERT_EQ(fallocate(file.get(), 0, begin, piece), 0);
  const Bytes content(8 * 1024 * 1024, std::byte{7});
  for (std::uint64_t at = 0; at < piece; at += content.size())
    ASSERT_TRUE(write_at(file.get(), content, begin + at));
  const auto all = extents(file.get(), {begin, piece});
  const auto last = extents(file.get(), {begin + piece - block, block});
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last.front().kind, Kind::shared);
  EXPECT_EQ(last.front().disk, all.back().disk);
  EXPECT_EQ(extents(file.get(), {begin + piece, block}).front().kind, Kind::zeros);
}

TEST_F(FileExtentsTest, AreTheSameInASnapshot) {
  snapshot();
  const ByteRange all{0, 16 * block};
  EXPECT_EQ(extents(file_.get(), all), extents(copy_.get(), all));
  EXPECT_EQ(extents(file_.get(), all).front().kind, Kind::shared);
}

TEST_F(FileExtentsTest, DifferExactlyWhereTheSnapshotWasWritten) {
  snapshot();
  ASSERT_TRUE(write_at(copy_.get(), Bytes(1, std::byte{7}), 5 * block));
  for (std::uint64_t i = 0; i < 16; ++i) {
    const ByteRange window{i * block, block};
    EXPECT_EQ(extents(file_.get(), window) == extents(copy_.get(), window), i != 5) << i;
  }
}

TEST_F(FileExtentsTest, DoNotDependOnHowAnExtentIsCut) {
  snapshot();
  ASSERT_TRUE(write_at(copy_.get(), Bytes(block, std::byte{7}), 5 * block));
  ASSERT_TRUE(sync_filesystem(copy_.get()));
  // Back to the parent's bytes: the extent is now referred to by three items instead of one.
  ASSERT_TRUE(clone_range(file_.get(), 5 * block, copy_.get(), 5 * block, block));
  const ByteRange all{0, 16 * block};
  EXPECT_EQ(extents(file_.get(), all), extents(copy_.get(), all));
}

TEST_F(FileExtentsTest, TellAShiftedCopyFromTheOriginal) {
  snapshot();
  ASSERT_TRUE(clone_range(file_.get(), 0, copy_.get(), 8 * block, block));
  const ByteRange window{8 * block, block};
  EXPECT_NE(extents(file_.get(), window), extents(copy_.get(), window));
}

TEST_F(FileExtentsTest, ShowHolesPunchedAndPreallocatedRangesAsZeros) {
  ASSERT_EQ(fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * block, block),
            0);
  ASSERT_EQ(fallocate(file_.get(), 0, 16 * block, block), 0);
  const auto zeros = [](ByteRange range) { return std::vector<FileExtent>{{.range = range}}; };
  EXPECT_EQ(extents(file_.get(), {2 * block, block}), zeros({2 * block, block}));
  EXPECT_EQ(extents(file_.get(), {16 * block, block}), zeros({16 * block, block}));
  EXPECT_EQ(extents(file_.get(), {40 * block, block}), zeros({40 * block, block}));
}

TEST_F(FileExtentsTest, CoverAWindowThatBeginsInsideAnExtent) {
  const auto found = extents(file_.get(), {3 * block + 4096, 8192});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().range, (ByteRange{3 * block + 4096, 8192}));
  EXPECT_EQ(found.front().disk_offset % block, 4096u);
}

TEST_F(FileExtentsTest, SmallFilesAreInline) {
  const unique_fd small = open_to_write(path() / "a/small");
  ASSERT_TRUE(write_at(small.get(), Bytes(100, std::byte{1}), 0));
  const auto found = extents(small.get(), {0, 100});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.front().kind, Kind::inlined);
}

TEST_F(FileExtentsTest, ListsMoreThanOneBufferHolds) {
  const unique_fd fragmented = open_to_write(path() / "a/fragmented");
  constexpr std::uint64_t pieces = 3000;
  for (std::uint64_t i = 0; i < pieces; ++i)
    ASSERT_TRUE(write_at(fragmented.get(), Bytes(4096, std::byte{1}), i * 8192));
  const auto found = extents(fragmented.get(), {0, pieces * 8192});
  EXPECT_EQ(found.size(), 2 * pieces);
}

}  // namespace
}  // namespace icbd::btrfs
