#include "extent_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <optional>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "harness/run.h"
#include "harness/temporary_directory.h"

namespace icbd::source {
namespace {

constexpr std::uint64_t chunk = limits::chunk_size;

class ExtentReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
    ASSERT_TRUE(harness::shell_checked("cd " + folder_->path().string() +
                                       "; head -c 4M /dev/urandom > a; head -c 1M a > b"));
    auto root = open_file(folder_->path(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(root);
    root_ = std::move(*root);
    open_files_.emplace(root_.get(), 4);
  }

  // Reads; returns how many different buffers the bytes came in: the number of reads.
  std::size_t reads_of(const std::vector<Extent>& extents) {
    std::vector<std::shared_ptr<const void>> owners;
    const Status read =
        read_extents(files_, *open_files_, extents, {}, [&](const ExtentData& data) -> Status {
          if (owners.empty() || owners.back() != data.owner) owners.push_back(data.owner);
          return {};
        });
    EXPECT_TRUE(read) << read.error().message();
    return owners.size();
  }

  std::optional<harness::TemporaryDirectory> folder_;
  unique_fd root_;
  std::optional<OpenFiles> open_files_;
  std::vector<ServedFile> files_ = {{.path = "a", .size = 4 << 20, .is_file = true},
                                    {.path = "b", .size = 1 << 20, .is_file = true}};
};

TEST_F(ExtentReaderTest, NeighboursAreReadAtOnce) {
  const FileIndex a(0);
  EXPECT_EQ(reads_of({{a, {0, chunk}}, {a, {chunk, chunk}}, {a, {2 * chunk, 10}}}), 1u);
}

TEST_F(ExtentReaderTest, GapsAndOtherFilesAreNot) {
  const FileIndex a(0);
  const FileIndex b(1);
  EXPECT_EQ(reads_of({{a, {0, chunk}}, {a, {2 * chunk, chunk}}, {b, {3 * chunk, chunk}}}), 3u);
}

TEST_F(ExtentReaderTest, OneReadIsAtMostAMebibyte) {
  std::vector<Extent> extents;
  for (std::uint64_t i = 0; i < 32; ++i) extents.push_back({FileIndex(0), {i * chunk, chunk}});
  EXPECT_EQ(reads_of(extents), 4u);
}

TEST_F(ExtentReaderTest, PastThePageCacheTheSameBytesCome) {
  auto disk = DiskReader::start(uring::make_queue().value());
  ASSERT_TRUE(disk) << disk.error().message();
  std::vector<Extent> extents;
  for (std::uint64_t i = 0; i < 32; i += 3) extents.push_back({FileIndex(0), {i * chunk, chunk}});
  extents.push_back({FileIndex(0), {31 * chunk + 5, 1000}});
  const auto whole = read_file(folder_->path() / "a", 4 << 20);
  ASSERT_TRUE(whole);
  ASSERT_TRUE(harness::shell_checked("sync " + (folder_->path() / "a").string()));
  const auto a = open_files_->open(FileIndex(0), "a", false);
  ASSERT_TRUE(a);
  ASSERT_EQ(posix_fadvise(a->cached->get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  std::vector<Extent> delivered;
  const Status read = read_extents(
      files_, *open_files_, extents, {.disk = disk->get()}, [&](const ExtentData& data) -> Status {
        delivered.push_back(data.extent);
        const auto expected =
            ByteView(*whole).subspan(data.extent.range.offset, data.extent.range.length);
        EXPECT_TRUE(std::ranges::equal(data.data, expected)) << data.extent.range.offset;
        return {};
      });
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(delivered, extents) << "in their order";
}

TEST(ReadOnceTest, EachMebibyteOfAFileIsNewOnce) {
  ReadOnce once;
  EXPECT_TRUE(once.first(FileIndex(1), 0));
  EXPECT_FALSE(once.first(FileIndex(1), chunk)) << "of the same mebibyte";
  EXPECT_TRUE(once.first(FileIndex(1), 8 * chunk));
  EXPECT_TRUE(once.first(FileIndex(2), 0));
  EXPECT_FALSE(once.first(FileIndex(2), 0));
}

// Another cache wants it: whoever comes third finds it in memory. One cache alone that fetches a
// version twice is no reason.
TEST_F(ExtentReaderTest, WhatSeveralReadAgainStaysInThePageCache) {
  auto disk = DiskReader::start(uring::make_queue().value());
  ASSERT_TRUE(disk) << disk.error().message();
  const auto a = open_files_->open(FileIndex(0), "a", true);
  ASSERT_TRUE(a);
  if (!a->direct) GTEST_SKIP() << "the filesystem of the temporary folder has no O_DIRECT";
  ASSERT_TRUE(harness::shell_checked("sync " + (folder_->path() / "a").string()));
  // Not asked with cachestat(2), which older kernels lack, nor by reading, which reads ahead.
  void* const map = mmap(nullptr, chunk, PROT_READ, MAP_SHARED, a->cached->get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  const auto is_cached = [&] {
    std::array<unsigned char, chunk / 4096> pages{};
    EXPECT_EQ(mincore(map, chunk, pages.data()), 0);
    return (pages[0] & 1) != 0;
  };
  // The kernel keeps what somebody else is just looking at.
  const auto drop = [&] {
    for (int attempt = 0; attempt < 1000 && is_cached(); ++attempt) {
      posix_fadvise(a->cached->get(), 0, 0, POSIX_FADV_DONTNEED);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return !is_cached();
  };
  ReadOnce once;
  StretchBuffers buffers;
  ReadBy read_by{.disk = disk->get(), .once = &once, .buffers = &buffers};
  for (const auto& [priority, cached] : {std::pair{Priority::shared_bulk, false},
                                         {Priority::bulk, false},
                                         {Priority::shared_bulk, true}}) {
    ASSERT_TRUE(drop());
    const std::vector<Extent> extents = {{FileIndex(0), {0, chunk}}};
    read_by.priority = priority;
    ASSERT_TRUE(read_extents(files_, *open_files_, extents, read_by,
                             [](const ExtentData&) -> Status { return {}; }));
    EXPECT_EQ(is_cached(), cached);
  }
  munmap(map, chunk);
}

TEST_F(ExtentReaderTest, AFileShorterThanItsManifestIsCorrupt) {
  files_[1].size = 2 << 20;
  const std::vector<Extent> extents = {{FileIndex(1), {chunk * 7, chunk}},
                                       {FileIndex(1), {chunk * 8, chunk}}};
  const Status read = read_extents(files_, *open_files_, extents, {},
                                   [](const ExtentData&) -> Status { return {}; });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::corrupt);
  EXPECT_TRUE(read.error().message().starts_with("\"b\": ")) << read.error().message();
}

}  // namespace
}  // namespace icbd::source
