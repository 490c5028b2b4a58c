#include "disk_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "icbd/base/file.h"

#include "harness/random_tree.h"
#include "harness/temporary_directory.h"
#include "unit/uring/fake_queue.h"

namespace icbd::source {
namespace {

using uring::FakeQueue;

constexpr std::size_t file_bytes = 3 * 1024 * 1024 + 777;

class DiskReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
    content_.resize(file_bytes);
    std::ranges::generate(content_, [&] { return static_cast<std::byte>(random_()); });
    auto file = open_file(folder_->path() / "file", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_at(file->get(), content_, 0));
    file_ = std::make_shared<const unique_fd>(std::move(*file));
  }

  static std::unique_ptr<DiskReader> reader(std::unique_ptr<uring::Queue> queue) {
    return DiskReader::start(std::move(queue)).value();
  }
  ByteRange any_range() {
    const std::uint64_t offset = random_() % (file_bytes - 1);
    const std::uint64_t longest = std::min(stretch_max, file_bytes - offset);
    return {offset, 1 + random_() % longest};
  }
  bool is_right(ByteRange range, ByteView bytes) const {
    return std::ranges::equal(bytes, ByteView(content_).subspan(range.offset, range.length));
  }

  const std::uint64_t seed_ = harness::test_seed();
  std::mt19937_64 random_{seed_};
  std::optional<harness::TemporaryDirectory> folder_;
  Bytes content_;
  std::shared_ptr<const unique_fd> file_;
};

// Stretches of any place and length, asked for at the same time.
TEST_F(DiskReaderTest, EachStretchComesWholeHoweverItsReadsEnd) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  const auto disk =
      reader(std::make_unique<FakeQueue>(seed_, FakeQueue::Faults{.short_reads = 0.5}));
  std::vector<ByteRange> ranges;
  std::vector<std::future<Result<DiskReader::Stretch>>> reads;
  for (int i = 0; i < 100; ++i) {
    ranges.push_back(any_range());
    reads.push_back(disk->read(file_, ranges.back()));
  }
  for (std::size_t i = 0; i < reads.size(); ++i) {
    const auto stretch = reads[i].get();
    ASSERT_TRUE(stretch) << stretch.error().message();
    EXPECT_TRUE(is_right(ranges[i], stretch->bytes))
        << ranges[i].offset << " + " << ranges[i].length;
  }
}

TEST_F(DiskReaderTest, AReadThatFailsIsToldToWhoAskedForItAlone) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  const auto disk = reader(std::make_unique<FakeQueue>(seed_, FakeQueue::Faults{.errors = 0.3}));
  int failed = 0;
  for (int i = 0; i < 100; ++i) {
    const ByteRange range = any_range();
    const auto stretch = disk->read(file_, range).get();
    if (!stretch) {
      EXPECT_EQ(stretch.error().errno_value(), EIO);
      ++failed;
    } else {
      EXPECT_TRUE(is_right(range, stretch->bytes));
    }
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, 100);
}

TEST_F(DiskReaderTest, ReadsThroughTheKernelsRing) {
  const auto disk = reader(uring::make_queue().value());
  auto direct = open_file(folder_->path() / "file", O_RDONLY | O_DIRECT);
  if (!direct) GTEST_SKIP() << "the temporary folder's filesystem has no O_DIRECT";
  const auto file = std::make_shared<const unique_fd>(std::move(*direct));
  for (int i = 0; i < 20; ++i) {
    const ByteRange range = any_range();
    const auto stretch = disk->read(file, range).get();
    ASSERT_TRUE(stretch) << stretch.error().message();
    EXPECT_TRUE(is_right(range, stretch->bytes)) << range.offset << " + " << range.length;
  }
}

// More than there are of those that the ring was told of, all held at once; and again when they
// have been given back.
TEST_F(DiskReaderTest, WithoutAnotherRegisteredBufferItReadsIntoOtherMemory) {
  const auto disk = reader(uring::make_queue().value());
  for (int round = 0; round < 2; ++round) {
    std::vector<Result<DiskReader::Stretch>> held;
    for (std::size_t i = 0; i < RegisteredBuffers::count + 4; ++i)
      held.push_back(disk->read(file_, {i * 1000, stretch_max}).get());
    for (std::size_t i = 0; i < held.size(); ++i) {
      ASSERT_TRUE(held[i]) << held[i].error().message();
      EXPECT_TRUE(is_right({i * 1000, stretch_max}, held[i]->bytes)) << i;
    }
  }
}

TEST_F(DiskReaderTest, WithoutRegisteredBuffersItReadsAllTheSame) {
  const auto disk = reader(uring::make_queue({.registered_buffers = false}).value());
  const auto stretch = disk->read(file_, {5, stretch_max}).get();
  ASSERT_TRUE(stretch) << stretch.error().message();
  EXPECT_TRUE(is_right({5, stretch_max}, stretch->bytes));
}

TEST_F(DiskReaderTest, AFileThatEndsTooSoonIsCorrupt) {
  const auto disk = reader(uring::make_queue().value());
  const auto stretch = disk->read(file_, {file_bytes - 100, 101}).get();
  ASSERT_FALSE(stretch);
  EXPECT_EQ(stretch.error().code(), ErrorCode::corrupt);
  EXPECT_TRUE(disk->read(file_, {file_bytes - 100, 100}).get());
}

// Of every length around those of the buffers.
TEST_F(DiskReaderTest, StretchesOfEveryLengthFitTheirBuffers) {
  const auto disk = reader(uring::make_queue().value());
  for (const std::uint64_t length :
       {1ull, 4096ull, 12 * 1024ull, 16 * 1024ull, 128 * 1024ull, 136 * 1024ull, 256 * 1024ull,
        264 * 1024ull, 512 * 1024ull, 520 * 1024ull, 1024 * 1024ull})
    for (const std::uint64_t shift : {0ull, 1ull, 4095ull}) {
      const ByteRange range{4096 + shift, length};
      const auto stretch = disk->read(file_, range).get();
      ASSERT_TRUE(stretch) << stretch.error().message();
      EXPECT_TRUE(is_right(range, stretch->bytes)) << length << " at " << range.offset;
    }
}

TEST_F(DiskReaderTest, TooMuchAtOnceIsRefused) {
  const auto disk = reader(uring::make_queue().value());
  const auto stretch = disk->read(file_, {0, stretch_max + 1}).get();
  ASSERT_FALSE(stretch);
  EXPECT_EQ(stretch.error().code(), ErrorCode::too_large);
}

TEST_F(DiskReaderTest, WhatWasReadOutlivesTheReader) {
  auto disk = reader(uring::make_queue().value());
  const ByteRange range{12345, 54321};
  const auto stretch = disk->read(file_, range).get();
  disk.reset();
  ASSERT_TRUE(stretch);
  EXPECT_TRUE(is_right(range, stretch->bytes));
}

TEST_F(DiskReaderTest, EveryReadEndsWithTheReader) {
  std::vector<std::future<Result<DiskReader::Stretch>>> reads;
  {
    const auto disk = reader(std::make_unique<FakeQueue>(seed_, FakeQueue::Faults{}));
    for (int i = 0; i < 50; ++i) reads.push_back(disk->read(file_, any_range()));
  }
  for (auto& read : reads) {
    const auto stretch = read.get();  // does not hang
    if (!stretch) {
      EXPECT_EQ(stretch.error().code(), ErrorCode::cancelled);
    }
  }
}

}  // namespace
}  // namespace icbd::source
