#include "icbd/fs/mount_table.h"

#include <gtest/gtest.h>

namespace icbd::fs {
namespace {

constexpr std::string_view table =
    "22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
    "28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "36 28 0:40 / /var/lib/icbd ro,nosuid,nodev shared:9 master:3 - fuse.icbd imgs:5010 ro\n"
    "37 28 0:41 /a /mnt/with\\040space rw - xfs /dev/sdb rw\n"
    "38 28 0:42 / /mnt/back\\134slash rw - tmpfs none rw\n"
    "39 28 0:43 / /mnt/twice rw - ext4 /dev/sdc rw\n"
    "40 39 0:44 / /mnt/twice rw - fuse.icbd here rw\n"
    "41 28 0:45 / /mnt/dash rw - tmpfs - rw";

TEST(MountTable, SaysOfWhatTypeAMountIs) {
  EXPECT_EQ(type_of_mount(table, "/"), "ext4");
  EXPECT_EQ(type_of_mount(table, "/var/lib/icbd"), filesystem_type);
  EXPECT_EQ(type_of_mount(table, "/mnt/dash"), "tmpfs") << "a last line without its end";
}

TEST(MountTable, APathThatIsNoMountHasNoType) {
  EXPECT_EQ(type_of_mount(table, "/var/lib"), "");
  EXPECT_EQ(type_of_mount(table, "/var/lib/icbd/win11"), "");
  EXPECT_EQ(type_of_mount(std::string_view(), "/"), "");
}

TEST(MountTable, TheUppermostOfSeveralCounts) {
  EXPECT_EQ(type_of_mount(table, "/mnt/twice"), filesystem_type);
}

TEST(MountTable, UnusualCharactersAreUnderstood) {
  EXPECT_EQ(type_of_mount(table, "/mnt/with space"), "xfs");
  EXPECT_EQ(type_of_mount(table, "/mnt/back\\slash"), "tmpfs");
}

TEST(MountTable, LinesThatMakeNoSenseArePassedOver) {
  EXPECT_EQ(type_of_mount("\n1\n1 2 3 4 /mnt\n1 2 3 4 /mnt rw\n1 2 3 4 /mnt rw -\n\\04", "/mnt"),
            "");
}

TEST(MountTable, TheKernelsOwnIsRead) {
  const auto type = type_of_mount("/proc");
  ASSERT_TRUE(type) << type.error().message();
  EXPECT_EQ(*type, "proc");
}

}  // namespace
}  // namespace icbd::fs
