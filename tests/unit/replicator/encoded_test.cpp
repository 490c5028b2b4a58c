// Compressed extents of the master's filesystem, and what becomes of them here.

#include <fcntl.h>
#include <sys/stat.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/encoded_read.h"
#include "icbd/sendstream/decompress.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

class EncodedArrivalTest : public ArrivalTest {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.mount_options = "compress=zstd"};
  }

  // Extents of a version's file: neither begin nor end where its chunks do.
  static std::vector<btrfs::CompressedExtent> layout(const std::filesystem::path& file) {
    const auto fd = open_file(file, O_RDONLY);
    struct stat status{};
    EXPECT_TRUE(fd && fstat(fd->get(), &status) == 0);
    const auto found = btrfs::compressed_extents(fd->get(), InodeNumber(status.st_ino),
                                                 {0, static_cast<std::uint64_t>(status.st_size)});
    EXPECT_TRUE(found) << found.error().message();
    return found.value_or(std::vector<btrfs::CompressedExtent>{});
  }
  void expect_same_layout(std::uint32_t number) {
    const auto theirs = layout(master_->version_path("image", VersionNumber(number)) / "disk");
    EXPECT_GT(theirs.size(), 3u);
    EXPECT_EQ(theirs, layout(cache_->version_path("image", VersionNumber(number)) / "disk"));
  }
};

constexpr const char* text =
    "seq 1 300000 | dd of=disk bs=4096 seek=5 conv=notrunc status=none; sync";
constexpr const char* change =
    "seq 900000 999999 | dd of=disk bs=4096 seek=99 conv=notrunc status=none; sync";

TEST_F(EncodedArrivalTest, ArriveAsTheyAre) {
  publish(text);
  publish(change);
  start();
  ASSERT_TRUE(let_arrive(1));
  EXPECT_GT(source_->encoded_served, 10);
  expect_landed_equal(1);
  expect_same_layout(1);
  ASSERT_TRUE(let_arrive(2));
  expect_landed_equal(2);
  expect_same_layout(2);
}

TEST_F(EncodedArrivalTest, OneThatDoesNotUnpackIsFetchedPlainly) {
  publish(text);
  source_->on_encoded = [](source::EncodedExtent extent, const source::EncodedSink& sink) {
    Bytes damaged(extent.data.begin(), extent.data.end());
    std::fill(damaged.begin() + 100, damaged.end(), std::byte{0xA5});
    extent.data = damaged;
    return sink.encoded(extent);
  };
  start();
  ASSERT_TRUE(let_arrive(1));
  EXPECT_GT(source_->encoded_served, 10);
  expect_landed_equal(1);
}

// Nothing of what it reaches into is believed.
TEST_F(EncodedArrivalTest, OneThatUnpacksToOtherBytesIsNeverStored) {
  publish(text);
  std::mutex mutex;
  std::optional<source::EncodedExtent> first;
  source_->on_encoded = [&](source::EncodedExtent extent, const source::EncodedSink& sink) {
    const std::lock_guard lock(mutex);
    if (!first) first = extent;
    if (extent.range.length == first->range.length) extent.data = first->data;
    return sink.encoded(extent);
  };
  start();
  ASSERT_TRUE(let_arrive(1));
  EXPECT_GT(source_->encoded_served, 10);
  expect_landed_equal(1);
}

// The kernel takes none that does not begin with a sector.
TEST_F(EncodedArrivalTest, OneThatTheKernelRefusesIsWrittenPlainly) {
  publish(text);
  source_->on_encoded = [](source::EncodedExtent extent,
                           const source::EncodedSink& sink) -> Status {
    constexpr std::uint64_t cut = 100;
    const sendstream::EncodedWrite command{.path = {},
                                           .offset = extent.range.offset,
                                           .unencoded_file_length = cut,
                                           .unencoded_length = extent.unencoded_length,
                                           .unencoded_offset = extent.unencoded_offset,
                                           .compression = extent.compression,
                                           .encryption = {},
                                           .data = extent.data};
    ICBD_ASSIGN(const Bytes beginning, sendstream::decompress(command));
    ICBD_TRY(sink.plain({.extent = {extent.file, {extent.range.offset, cut}},
                         .owner = nullptr,
                         .data = beginning,
                         .all_zero = false}));
    extent.range = {extent.range.offset + cut, extent.range.length - cut};
    extent.unencoded_offset += cut;
    return sink.encoded(extent);
  };
  start();
  ASSERT_TRUE(let_arrive(1));
  EXPECT_GT(source_->encoded_served, 10);
  expect_landed_equal(1);
}

TEST_F(EncodedArrivalTest, AreNotToldTwice) {
  publish(text);
  source_->on_encoded = [](const source::EncodedExtent& extent,
                           const source::EncodedSink& sink) -> Status {
    ICBD_TRY(sink.encoded(extent));
    return sink.encoded(extent);
  };
  start();
  wait_until_known(1);
  const auto version = open(1);
  ASSERT_DONE(version);
  replicator_->want((*version)->version.serial);
  wait_until(
      [&] {
        return (*version)->arrival->progress().failure.find("not asked for") != std::string::npos;
      },
      "the second is not refused");
}

// What lies on the disk as it came is compared packed, and not unpacked for it; what somebody has
// changed meanwhile is found all the same.
TEST_F(EncodedArrivalTest, OneThatIsDamagedAfterItWasStoredIsFoundAtLanding) {
  publish(std::string(text) + "; head -c 1M /dev/urandom > last");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  const Content& content = (*version)->arrival->content();
  const ChunkNumber damaged = content.chunks().number(file(**version, "disk"), ChunkIndex(3));
  const auto staged = cache_->staging_path("image", VersionNumber(1)) / "disk";
  std::once_flag once;
  std::optional<ChunkMap::Written> written;
  source_->on_extent = [&](const source::Extent& extent) {
    if (extent.file != file(**version, "last")) return;
    std::call_once(once, [&] {
      wait_until([&] { return content.chunks().state(damaged) == ChunkState::done; },
                 "the disk is not stored before the last file");
      written = content.chunks().written(damaged);
      const auto fd = open_file(staged, O_RDWR);
      ASSERT_DONE(fd);
      ASSERT_DONE(write_at(fd->get(), as_bytes("damage"), 3 * limits::chunk_size + 50'000));
    });
  };
  replicator_->want((*version)->version.serial);
  wait_until_complete(1);
  ASSERT_TRUE(written);
  EXPECT_TRUE(written->packed);
  expect_landed_equal(1);
}

TEST_F(EncodedArrivalTest, AReaderIsAnsweredFromThemToo) {
  publish(text);
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->hold(source::Priority::demand, true);
  source_->hold(source::Priority::bulk, true);
  replicator_->want((*version)->version.serial);
  const ChunkMap& chunks = (*version)->arrival->content().chunks();
  const ChunkNumber chunk = chunks.number(file(**version, "disk"), ChunkIndex(5));
  wait_until([&] { return chunks.state(chunk) == ChunkState::fetching; }, "bulk does not begin");
  auto bytes = read(**version, "disk", {5 * limits::chunk_size, 8});
  source_->hold(source::Priority::bulk, false);
  ASSERT_DONE(bytes.get());
  source_->hold(source::Priority::demand, false);
  wait_until_complete(1);
  expect_landed_equal(1);
}

class PlainCacheTest : public EncodedArrivalTest {
 protected:
  std::filesystem::path cache_directory() override {
    auto plain = harness::LoopBtrfs::create();
    EXPECT_TRUE(plain) << plain.error().message();
    plain_ = std::move(*plain);
    std::filesystem::create_directory(plain_->path() / "cache");
    return plain_->path() / "cache";
  }
  void TearDown() override {
    EncodedArrivalTest::TearDown();
    plain_.reset();
  }
  std::unique_ptr<harness::LoopBtrfs> plain_;
};

TEST_F(PlainCacheTest, IsSentNone) {
  publish(text);
  start();
  ASSERT_TRUE(let_arrive(1));
  EXPECT_EQ(source_->encoded_served, 0);
  expect_landed_equal(1);
}

}  // namespace
}  // namespace icbd::replicator
