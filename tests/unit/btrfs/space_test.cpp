#include "icbd/btrfs/space.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <random>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"

namespace icbd::btrfs {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

TEST(RoomForDataTest, LeavesTheReserveUnallocated) {
  const Allocation empty{.total = 1000, .unallocated = 500, .data_free = 100, .metadata_free = 50};
  EXPECT_EQ(room_for_data(empty, 0), 600u);
  EXPECT_EQ(room_for_data(empty, 200), 400u);
  EXPECT_EQ(room_for_data(empty, 900), 100u) << "what belongs to data already may be used up";
}

TEST(RoomForDataTest, IsNoneWhereMetadataCannotGrow) {
  const Allocation full{.total = 1000, .unallocated = 0, .data_free = 400, .metadata_free = 10};
  EXPECT_EQ(room_for_data(full, 100), 0u);
  EXPECT_EQ(room_for_data(full, 20), 400u);
}

class AllocationTest : public harness::BtrfsTest {};

TEST_F(AllocationTest, ShrinksByWhatIsWritten) {
  const auto directory = open_file(path(), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(directory);
  const auto before = allocation(directory->get());
  ASSERT_TRUE(before) << before.error().message();
  EXPECT_GT(before->total, 0u);
  EXPECT_LE(before->unallocated + before->data_free, before->total);

  constexpr std::uint64_t size = 64 * mebibyte;
  Bytes content(size);
  std::mt19937_64 random(1);
  for (std::byte& byte : content) byte = static_cast<std::byte>(random());
  const auto file = open_file(path() / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  ASSERT_TRUE(write_at(file->get(), content, 0));
  ASSERT_TRUE(sync_filesystem(file->get()));
  const auto after = allocation(directory->get());
  ASSERT_TRUE(after);
  EXPECT_EQ(after->total, before->total);
  // Block groups for metadata may have been allocated beside the data.
  EXPECT_LE(room_for_data(*after, 0), room_for_data(*before, 0) - size);
}

}  // namespace
}  // namespace icbd::btrfs
