#include "disk_format.h"

#include <gmock/gmock.h>

namespace icbd::repository {
namespace {

using testing::HasSubstr;

std::string claim(std::string_view head, std::string_view tail = "") {
  return claimed_format(as_bytes(head), as_bytes(tail));
}

TEST(DiskFormat, ContentClaimsWhatItBeginsWith) {
  EXPECT_EQ(claim(""), "raw");
  EXPECT_EQ(claim("\xeb\x63\x90 a boot sector"), "raw");
  EXPECT_EQ(claim(std::string("QFI\xfb\0\0\0\3", 8)), "qcow2");
  EXPECT_EQ(claim(std::string("QFI\xfb\0\0\0\1", 8)), "qcow");
  EXPECT_EQ(claim("KDMV"), "vmdk");
  EXPECT_EQ(claim("# Disk DescriptorFile\nversion=1"), "vmdk");
  EXPECT_EQ(claim("", "conectix"), "vpc");
  EXPECT_EQ(claim("\x1f\x8b\x08"), "gzip");
  EXPECT_EQ(claim(std::string(257, 'a') + "ustar"), "tar");
}

TEST(DiskFormat, NameAndContentHaveToAgree) {
  EXPECT_EQ(*choose_format("/srv/disk.raw", "raw", ""), "raw");
  EXPECT_EQ(*choose_format("/srv/DISK.IMG", "raw", ""), "raw");
  EXPECT_EQ(*choose_format("/srv/disk", "raw", ""), "raw");
  EXPECT_EQ(*choose_format("/srv/disk.qcow2", "qcow2", ""), "qcow2");
  EXPECT_EQ(*choose_format("/srv/disk.vhd", "vpc", ""), "vpc");
}

// The guest of a raw disk writes whatever it likes into its first sector.
TEST(DiskFormat, ARawDiskWithAnotherHeaderIsNotGuessed) {
  for (const char* name : {"/srv/disk.raw", "/srv/disk.img", "/srv/disk"}) {
    const auto format = choose_format(name, "qcow2", "");
    ASSERT_FALSE(format);
    EXPECT_THAT(format.error().message(), HasSubstr("say --format raw or --format qcow2"));
  }
  EXPECT_EQ(*choose_format("/srv/disk.raw", "qcow2", "raw"), "raw");
  EXPECT_EQ(*choose_format("/srv/disk.raw", "qcow2", "qcow2"), "qcow2");
}

TEST(DiskFormat, OtherDisagreementsSayWhatToDo) {
  const auto message = [](const char* name, const char* claimed) {
    return choose_format(name, claimed, "").error().message();
  };
  EXPECT_THAT(message("/srv/disk.qcow2", "raw"), HasSubstr("say --format raw"));
  EXPECT_THAT(message("/srv/disk.qcow2", "vmdk"), HasSubstr("--format qcow2 or --format vmdk"));
  EXPECT_THAT(message("/srv/disk.bak", "raw"), HasSubstr("say --format raw"));
  EXPECT_THAT(message("/srv/disk.raw.gz", "gzip"), HasSubstr("unpack it first"));
  EXPECT_THAT(message("/srv/disk.img", "xz"), HasSubstr("unpack it first"));
}

TEST(DiskFormat, OnlyFormatsOfFilesAreTaken) {
  for (const char* format : {"nbd", "ssh", "blkdebug", "luks", "RAW", "qcow2 "})
    EXPECT_FALSE(choose_format("/srv/disk.raw", "raw", format)) << format;
}

}  // namespace
}  // namespace icbd::repository
