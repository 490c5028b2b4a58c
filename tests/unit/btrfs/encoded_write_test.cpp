#include "icbd/btrfs/encoded_write.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "icbd/base/file.h"

#include "harness/loop_btrfs.h"
#include "harness/temporary_directory.h"

namespace icbd::btrfs {
namespace {

// 4096 zeros as a zlib stream.
constexpr std::array<unsigned char, 26> packed_zeros = {
    0x78, 0xda, 0xed, 0xc1, 0x01, 0x0d, 0x00, 0x00, 0x00, 0xc2, 0xa0, 0xf7, 0x4f,
    0x6d, 0x0f, 0x07, 0x14, 0x00, 0x00, 0x00, 0xf0, 0x6e, 0x10, 0x00, 0x00, 0x01};

EncodedExtent zeros_at(std::uint64_t offset) {
  return {.data = std::as_bytes(std::span(packed_zeros)),
          .offset = offset,
          .file_length = 4096,
          .unencoded_offset = 0,
          .unencoded_length = 4096,
          .compression = 1};
}

class EncodedWriteTest : public harness::BtrfsTest {
 protected:
  unique_fd file(const std::string& name) {
    return open_file(path() / name, O_RDWR | O_CREAT, 0600).value();
  }
};

TEST_F(EncodedWriteTest, WritesAnExtentAsItIs) {
  const unique_fd fd = file("file");
  const Bytes ones(8192, std::byte{1});
  ASSERT_TRUE(write_at(fd.get(), ones, 0));
  const Status written = encoded_write(fd.get(), zeros_at(4096));
  if (!written && written.error().errno_value() == ENOTTY)
    GTEST_SKIP() << "this kernel has no encoded writes";
  ASSERT_TRUE(written) << written.error().message();
  Bytes content(8193);
  EXPECT_EQ(read_at(fd.get(), content, 0), 8192u);
  EXPECT_EQ(content[4095], std::byte{1});
  EXPECT_EQ(std::count(content.begin() + 4096, content.begin() + 8192, std::byte{0}), 4096);
}

// Callers unpack these.
TEST_F(EncodedWriteTest, WhatCannotBeWrittenAsItIsIsUnsupported) {
  const unique_fd fd = file("file");
  EXPECT_EQ(encoded_write(fd.get(), zeros_at(1)).error().code(), ErrorCode::unsupported);
  EncodedExtent other_sector = zeros_at(0);
  other_sector.compression = 7;  // LZO of 64 KiB sectors
  EXPECT_EQ(encoded_write(fd.get(), other_sector).error().code(), ErrorCode::unsupported);

  auto elsewhere = harness::TemporaryDirectory::create();
  ASSERT_TRUE(elsewhere);
  const auto on_another = open_file(elsewhere->path() / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(on_another);
  EncodedExtent unaligned = zeros_at(1);  // should that be on BTRFS too
  EXPECT_EQ(encoded_write(on_another->get(), unaligned).error().code(), ErrorCode::unsupported);
}

TEST_F(EncodedWriteTest, OtherErrorsAreWhatTheyAre) {
  file("file");
  const auto read_only = open_file(path() / "file", O_RDONLY);
  ASSERT_TRUE(read_only);
  const Status written = encoded_write(read_only->get(), zeros_at(0));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().errno_value(), EBADF);
}

}  // namespace
}  // namespace icbd::btrfs
