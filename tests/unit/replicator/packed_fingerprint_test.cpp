#include "packed_fingerprint.h"

#include <fcntl.h>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/encoded_write.h"
#include "icbd/btrfs/subvolume.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

constexpr ByteRange first_chunk{0, limits::chunk_size};

class PackedFingerprintTest : public harness::BtrfsTest {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.mount_options = "compress-force=zstd"};
  }
  unique_fd file(const std::string& name, const std::string& script) {
    const auto made =
        harness::shell_checked("cd '" + path().string() + "'; " + script + " > " + name + "; sync");
    EXPECT_TRUE(made) << made.error().message();
    auto opened = open_file(path() / name, O_RDWR);
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }
  std::optional<Fingerprint> of(const unique_fd& file, ByteRange range = first_chunk) {
    return packed_fingerprint(file.get(), range, buffer_);
  }
  // The extents of one file, written as they are into another.
  static void copy_packed(const unique_fd& from, const unique_fd& to, std::uint64_t length) {
    Bytes buffer(limits::extent_length);
    for (std::uint64_t at = 0; at < length;) {
      const auto extent = btrfs::encoded_read(from.get(), at, buffer);
      ASSERT_DONE(extent);
      ASSERT_DONE(btrfs::encoded_write(to.get(), {.data = ByteView(buffer).first(extent->length),
                                                  .offset = at,
                                                  .file_length = extent->file_length,
                                                  .unencoded_offset = extent->unencoded_offset,
                                                  .unencoded_length = extent->unencoded_length,
                                                  .compression = extent->compression}));
      at += extent->file_length;
    }
  }
  Bytes buffer_ = Bytes(limits::extent_length);
};

TEST_F(PackedFingerprintTest, IsTheSameOfExtentsThatWereWrittenAsTheyAre) {
  const unique_fd one = file("one", "seq 200000 | head -c 1M");
  const unique_fd copy = file("copy", ":");
  copy_packed(one, copy, 1 << 20);
  // Also where an extent reaches into the next chunk, and from within one.
  for (const ByteRange range : {first_chunk, ByteRange{4096 * 5, limits::chunk_size}}) {
    ASSERT_TRUE(of(one, range));
    EXPECT_EQ(of(one, range), of(copy, range)) << "before it is on the disk";
  }
  ASSERT_DONE(btrfs::sync_filesystem(copy.get()));
  EXPECT_EQ(of(one), of(copy));
}

TEST_F(PackedFingerprintTest, IsAnotherWhenOneByteIsAnother) {
  const unique_fd one = file("one", "seq 200000 | head -c 1M");
  const auto before = of(one);
  ASSERT_TRUE(before);
  ASSERT_DONE(write_at(one.get(), as_bytes("x"), 70'000));
  ASSERT_DONE(btrfs::sync_filesystem(one.get()));
  EXPECT_NE(of(one), before);
  // The rest of that chunk lies where it lay.
  const ByteRange other{limits::chunk_size, limits::chunk_size};
  EXPECT_TRUE(of(one, other));
}

TEST_F(PackedFingerprintTest, IsNoneOfWhatIsNotCompressed) {
  const unique_fd hole = file("hole", ":");
  ASSERT_EQ(ftruncate(hole.get(), 1 << 20), 0);
  EXPECT_EQ(of(hole), std::nullopt);
  const unique_fd plain = file("plain", "head -c 1M /dev/urandom");
  EXPECT_EQ(of(plain), std::nullopt);
}

}  // namespace
}  // namespace icbd::replicator
