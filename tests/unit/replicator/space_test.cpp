// A cache whose disk is full, or becomes full.

#include <fcntl.h>
#include <sys/statvfs.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

TEST(DefaultReserve, IsTwoPercentWithinBounds) {
  EXPECT_EQ(default_reserve(100 * mebibyte), 64 * mebibyte);
  EXPECT_EQ(default_reserve(50'000 * mebibyte), 1'000 * mebibyte);
  EXPECT_EQ(default_reserve(std::uint64_t{10} << 40), 4096 * mebibyte);
}

class SpaceTest : public ArrivalTest {
 protected:
  std::filesystem::path cache_directory() override {
    // Empty block groups are given back at the kernel's next commit: soon.
    auto small =
        harness::LoopBtrfs::create({.size_bytes = 512 * mebibyte, .mount_options = "commit=1"});
    EXPECT_TRUE(small.has_value()) << small.error().message();
    small_ = std::move(*small);
    std::filesystem::create_directory(small_->path() / "cache");
    return small_->path() / "cache";
  }
  void TearDown() override {
    ArrivalTest::TearDown();
    small_.reset();
  }

  // Written until the filesystem takes no more; bytes that cannot be compressed.
  void fill_up() {
    const auto file = open_file(ballast(), O_RDWR | O_CREAT, 0600);
    ASSERT_DONE(file);
    Bytes piece(mebibyte);
    ASSERT_DONE(harness::shell_checked("head -c 1M /dev/urandom > '" + ballast().string() + "'"));
    ASSERT_DONE(read_exactly_at(file->get(), piece, 0));
    std::uint64_t offset = 0;
    while (write_at(file->get(), piece, offset)) offset += mebibyte;
    ASSERT_GT(offset, 100 * mebibyte);
    static_cast<void>(btrfs::sync_filesystem(file->get()));
  }
  void make_room() {
    std::filesystem::remove(ballast());
    const auto directory = open_file(small_->path(), O_RDONLY | O_DIRECTORY);
    ASSERT_DONE(directory);
    ASSERT_DONE(btrfs::sync_filesystem(directory->get()));
  }
  std::filesystem::path ballast() const { return small_->path() / "ballast"; }

  std::unique_ptr<harness::LoopBtrfs> small_;
};

TEST_F(SpaceTest, AnArrivalThatDoesNotFitWaitsForRoomAndItsReadersDoNot) {
  publish("head -c 200M /dev/urandom > disk");
  start();
  const auto version = open(1);
  ASSERT_DONE(version);
  wait_until([&] { return cache_->catalog().version("image", VersionNumber(1))->shaped; },
             "the shape is not committed");
  fill_up();
  replicator_->want((*version)->version.serial);
  wait_until([&] { return (*version)->arrival->progress().phase == ArrivalPhase::paused; },
             "the arrival does not pause");
  EXPECT_THAT((*version)->arrival->progress().failure,
              testing::HasSubstr("MiB are needed and there is room for"));
  for (std::uint64_t i = 0; i < 10; ++i) {
    const auto bytes = read(**version, "disk", {i * 20 * mebibyte, 100'000}).get();
    ASSERT_DONE(bytes);
    EXPECT_EQ(bytes->size(), 100'000u);
  }
  make_room();
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(SpaceTest, ADiskThatFillsUpInTheMiddleOfAnArrivalPausesIt) {
  publish("head -c 50M /dev/urandom > disk");
  start();
  ASSERT_TRUE(let_arrive(1));
  publish("head -c 200M /dev/urandom > disk");
  wait_until_known(2);
  const auto version = open(2);
  ASSERT_DONE(version);
  source_->hold(source::Priority::bulk, true);
  replicator_->want((*version)->version.serial);
  wait_until([&] { return (*version)->arrival->progress().phase == ArrivalPhase::filling; },
             "the fill does not begin");
  fill_up();
  source_->hold(source::Priority::bulk, false);
  wait_until([&] { return (*version)->arrival->progress().phase == ArrivalPhase::paused; },
             "the arrival does not pause");
  EXPECT_TRUE(is_complete(1));
  expect_landed_equal(1);
  make_room();
  wait_until_complete(2);
  expect_landed_equal(2);
}

// More than the disk has, but nothing of it is written.
TEST_F(SpaceTest, ZerosNeedNoRoom) {
  publish("head -c 4M /dev/urandom > disk");
  start();
  ASSERT_TRUE(let_arrive(1));
  publish("truncate -s 8G disk");
  ASSERT_TRUE(let_arrive(2));
  // Landing has compared it with the manifest; to read it would take a minute.
  EXPECT_EQ(std::filesystem::file_size(cache_->version_path("image", VersionNumber(2)) / "disk"),
            8192 * mebibyte);
}

TEST_F(SpaceTest, AShapeIsNotBegunWithoutRoom) {
  publish("head -c 1M /dev/urandom > disk");
  start();
  fill_up();
  const auto version = open(1);
  ASSERT_FALSE(version.has_value());
  EXPECT_EQ(to_errno(version.error()), ENOSPC);
  EXPECT_EQ(source_->shapes_served, 0);
  make_room();
  wait_until([&] { return open(1).has_value(); }, "the version cannot be opened with room again");
  ASSERT_TRUE(let_arrive(1));
}

}  // namespace
}  // namespace icbd::replicator
