#include "icbd/btrfs/encoded_read.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <random>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/encoded_write.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"

namespace icbd::btrfs {
namespace {

constexpr std::uint64_t block = limits::extent_length;

// Half of each 64 bytes is the same: it packs to about a half.
Bytes packable(std::size_t size) {
  Bytes content(size);
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < size; ++i)
    content[i] = i % 64 < 32 ? std::byte{7} : static_cast<std::byte>(random());
  return content;
}

class EncodedReadTest : public harness::BtrfsTest {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.mount_options = "compress=zstd"};
  }

  unique_fd file(const std::string& name, ByteView content, std::uint64_t offset = 0) {
    auto opened = open_file(path() / name, O_RDWR | O_CREAT, 0600);
    EXPECT_TRUE(opened) << opened.error().message();
    EXPECT_TRUE(write_at(opened->get(), content, offset));
    EXPECT_TRUE(sync_filesystem(opened->get()));
    return std::move(*opened);
  }
  static std::vector<CompressedExtent> compressed(int fd, ByteRange window) {
    struct stat status{};
    EXPECT_EQ(fstat(fd, &status), 0);
    const auto found = compressed_extents(fd, InodeNumber(status.st_ino), window);
    EXPECT_TRUE(found) << found.error().message();
    return found.value_or(std::vector<CompressedExtent>{});
  }
  Bytes buffer_ = Bytes(limits::extent_length);
};

TEST_F(EncodedReadTest, CompressedExtentsAreListedInOrderWithoutGaps) {
  const unique_fd fd = file("file", packable(4 * block), 4096);
  const auto found = compressed(fd.get(), {0, 8 * block});
  ASSERT_GE(found.size(), 4u);
  std::uint64_t at = 4096;
  for (const CompressedExtent& extent : found) {
    EXPECT_EQ(extent.range.offset, at);
    EXPECT_LE(extent.range.length, block);
    EXPECT_LT(extent.packed_length, extent.range.length);
    at = extent.range.end();
  }
  EXPECT_EQ(at, 4096 + 4 * block);
}

TEST_F(EncodedReadTest, AWindowHasThoseThatReachIntoIt) {
  const unique_fd fd = file("file", packable(4 * block), 4096);
  const auto all = compressed(fd.get(), {0, 8 * block});
  EXPECT_EQ(compressed(fd.get(), {all[1].range.end() - 1, 2}), (std::vector{all[1], all[2]}));
  EXPECT_EQ(compressed(fd.get(), {all[1].range.offset, 1}), std::vector{all[1]});
  EXPECT_TRUE(compressed(fd.get(), {0, 4096}).empty()) << "a hole";
}

TEST_F(EncodedReadTest, WhatIsReadCanBeWrittenElsewhereAsItIs) {
  const Bytes content = packable(3 * block + 21'000);
  const unique_fd from = file("from", content);
  const unique_fd to = file("to", {});
  ASSERT_EQ(ftruncate(to.get(), static_cast<off_t>(content.size())), 0);
  for (const CompressedExtent& extent : compressed(from.get(), {0, content.size()})) {
    const auto read = encoded_read(from.get(), extent.range.offset, buffer_);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_NE(read->compression, 0u);
    EXPECT_EQ(read->length, extent.packed_length);
    EXPECT_EQ(read->file_length, intersect(extent.range, {0, content.size()}).length);
    const Status written = encoded_write(to.get(), {.data = ByteView(buffer_).first(read->length),
                                                    .offset = extent.range.offset,
                                                    .file_length = read->file_length,
                                                    .unencoded_offset = read->unencoded_offset,
                                                    .unencoded_length = read->unencoded_length,
                                                    .compression = read->compression});
    ASSERT_TRUE(written) << written.error().message();
  }
  ASSERT_TRUE(sync_filesystem(to.get()));
  EXPECT_EQ(compressed(from.get(), {0, content.size()}), compressed(to.get(), {0, content.size()}));
  const Bytes copy = read_file(path() / "to", content.size()).value();
  EXPECT_EQ(copy.size(), content.size());
  EXPECT_EQ(std::ranges::mismatch(copy, content).in1 - copy.begin(),
            static_cast<std::ptrdiff_t>(content.size()));
}

// A file may hold a part of an extent only.
TEST_F(EncodedReadTest, FromWithinAnExtentItSaysWhatIsSkipped) {
  const unique_fd fd = file("file", packable(block));
  const auto read = encoded_read(fd.get(), 8192, buffer_);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->unencoded_offset, 8192u);
  EXPECT_EQ(read->file_length, block - 8192);
  EXPECT_EQ(read->unencoded_length, block);
}

TEST_F(EncodedReadTest, WhatDoesNotPackIsNotListedAndComesPlain) {
  Bytes content(block);
  std::mt19937_64 random(2);
  for (std::byte& byte : content) byte = static_cast<std::byte>(random());
  const unique_fd fd = file("file", content);
  EXPECT_TRUE(compressed(fd.get(), {0, block}).empty());
  const auto read = encoded_read(fd.get(), 0, buffer_);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->compression, 0u);
}

TEST_F(EncodedReadTest, AnotherFilesystemIsUnsupported) {
  const auto fd = open_file("/proc/self/maps", O_RDONLY);
  ASSERT_TRUE(fd);
  const auto read = encoded_read(fd->get(), 0, buffer_);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::unsupported);
}

TEST_F(EncodedReadTest, CompressionIsWantedWhereTheMountOrTheDirectorySaysSo) {
  const auto root = open_file(path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(root);
  EXPECT_TRUE(wants_compression(root->get()));

  const auto plain = harness::LoopBtrfs::create();
  ASSERT_TRUE(plain) << plain.error().message();
  const auto plain_root = open_file((*plain)->path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(plain_root);
  EXPECT_FALSE(wants_compression(plain_root->get()));
  ASSERT_TRUE(harness::shell_checked(fmt::format(
      "cd '{}'; mkdir d; btrfs property set d compression zstd", (*plain)->path().string())));
  const auto marked = open_file((*plain)->path() / "d", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(marked);
  EXPECT_TRUE(wants_compression(marked->get()));
}

}  // namespace
}  // namespace icbd::btrfs
