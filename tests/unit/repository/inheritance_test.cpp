// The manifest of a version that inherited digests equals the manifest that reading everything
// gives: each test publishes the same subvolume as the next version of one image, and as the
// first version of another.
#include <fmt/ranges.h>

#include "harness/random_tree.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

class InheritanceTest : public RepositoryTest {
 protected:
  // Publishes "disk" against its previous version, and the same from scratch; returns the first.
  PublishReport publish_both_ways() {
    PublishReport incremental = publish_live("disk");
    const PublishReport scratch = publish_live(fmt::format("scratch{}", ++rounds_));
    EXPECT_EQ(scratch.bytes_inherited, 0u);
    EXPECT_EQ(incremental.version.facts.manifest.to_string(),
              scratch.version.facts.manifest.to_string());
    if (incremental.version.facts.manifest != scratch.version.facts.manifest)
      report_difference(entries_of(scratch.version), entries_of(incremental.version));
    EXPECT_EQ(log().find("everything is read"), std::string::npos) << log();
    return incremental;
  }

  // A version, a change, and the version after it.
  PublishReport publish_change(const std::string& before, const std::string& change) {
    in_live(before);
    publish_both_ways();
    in_live(change);
    return publish_both_ways();
  }

 private:
  static void report_difference(const std::vector<manifest::Entry>& expected,
                                const std::vector<manifest::Entry>& actual) {
    for (const manifest::Entry& entry : expected)
      if (std::ranges::find(actual, entry) == actual.end())
        ADD_FAILURE() << "differs or is missing: " << entry.path;
  }

  int rounds_ = 0;
};

constexpr const char* make_disk = "head -c 16M /dev/urandom > disk.raw";

TEST_F(InheritanceTest, WithoutAChangeNothingIsRead) {
  const PublishReport report = publish_change(make_disk, "true");
  EXPECT_EQ(report.bytes_hashed, 0u);
  EXPECT_EQ(report.bytes_inherited, 16 * mebibyte);
  EXPECT_EQ(report.version.facts.parent, VersionNumber(1));
}

TEST_F(InheritanceTest, AChangeInPlaceIsReadAlone) {
  const PublishReport report = publish_change(
      make_disk, "head -c 4096 /dev/urandom | dd of=disk.raw bs=4096 seek=100 conv=notrunc");
  EXPECT_EQ(report.bytes_hashed, limits::chunk_size);
}

TEST_F(InheritanceTest, AChangeOverAChunksBorderTouchesBoth) {
  const PublishReport report = publish_change(
      make_disk, "head -c 8192 /dev/urandom | dd of=disk.raw bs=4096 seek=31 conv=notrunc");
  EXPECT_EQ(report.bytes_hashed, 2 * limits::chunk_size);
}

TEST_F(InheritanceTest, ARenamedFileKeepsItsDigests) {
  const PublishReport report = publish_change(make_disk, "mkdir d; mv disk.raw d/other.raw");
  EXPECT_EQ(report.bytes_hashed, 0u);
}

TEST_F(InheritanceTest, AFileThatWasReplacedIsRead) {
  const PublishReport report = publish_change(
      make_disk, "cp --reflink=never disk.raw n; printf x | dd of=n conv=notrunc; mv n disk.raw");
  EXPECT_EQ(report.bytes_inherited, 0u);
}

TEST_F(InheritanceTest, ADirectoryInAnothersPlace) {
  publish_change("mkdir a b; head -c 1M /dev/urandom > a/file; head -c 1M /dev/zero > b/file",
                 "mv a c; mv b a; mkdir b; cp a/file b/file");
}

TEST_F(InheritanceTest, Reflinks) {
  publish_change(make_disk,
                 "cp --reflink=always disk.raw copy.raw\n"
                 "head -c 1M /dev/urandom | dd of=disk.raw bs=1M seek=3 conv=notrunc\n"
                 "cp --reflink=always disk.raw second.raw");
}

TEST_F(InheritanceTest, AFileThatShrank) {
  const PublishReport report = publish_change(make_disk, "truncate -s 5000001 disk.raw");
  EXPECT_EQ(report.bytes_hashed, 5000001 % limits::chunk_size) << "the short last chunk";
}

TEST_F(InheritanceTest, AFileThatShrankAndGrewAgain) {
  publish_change(make_disk, "truncate -s 5000001 disk.raw; truncate -s 16M disk.raw");
}

TEST_F(InheritanceTest, AFileThatGrew) {
  publish_change("head -c 5000001 /dev/urandom > disk.raw", "head -c 3M /dev/urandom >> disk.raw");
}

TEST_F(InheritanceTest, PunchedHoles) {
  publish_change(make_disk,
                 "fallocate --punch-hole --offset 1M --length 2M disk.raw\n"
                 "fallocate --punch-hole --offset 9000000 --length 100 disk.raw");
}

TEST_F(InheritanceTest, InsertedAndCollapsedBlocks) {
  publish_change(make_disk,
                 "fallocate --zero-range --offset 1M --length 1M disk.raw\n"
                 "fallocate --offset 20M --length 1M disk.raw");
}

TEST_F(InheritanceTest, HardLinks) {
  publish_change("head -c 3M /dev/urandom > b; ln b c; ln b d",
                 "ln b a; rm c; printf x | dd of=d bs=1 seek=2000000 conv=notrunc");
}

TEST_F(InheritanceTest, ManySmallFiles) {
  publish_change("for i in $(seq 500); do echo $i > f$i; done",
                 "for i in $(seq 1 7 500); do echo changed > f$i; done\n"
                 "for i in $(seq 3 50 500); do rm f$i; echo new > g$i; done");
}

TEST_F(InheritanceTest, AFileWithoutCopyOnWrite) {
  publish_change(
      "touch disk.raw; chattr +C disk.raw; head -c 4M /dev/urandom > disk.raw; sync -f disk.raw",
      "head -c 4096 /dev/urandom | dd of=disk.raw bs=4096 seek=100 conv=notrunc,fsync\n"
      "head -c 4096 /dev/urandom | dd of=disk.raw bs=4096 seek=101 conv=notrunc,fsync");
}

TEST_F(InheritanceTest, ADefragmentedFile) {
  publish_change(make_disk, "btrfs filesystem defragment -f disk.raw");
}

TEST_F(InheritanceTest, RandomChanges) {
  const std::uint64_t seed = harness::test_seed();
  SCOPED_TRACE(fmt::format("ICBD_TEST_SEED={}", seed));
  harness::RandomTree tree(live(), seed);
  for (int round = 0; round < 20; ++round) {
    const std::size_t before = tree.history().size();
    const Status changed = tree.change(30);
    ASSERT_TRUE(changed) << changed.error().message();
    publish_both_ways();
    if (HasFailure()) {
      const std::vector<std::string> changes(
          tree.history().begin() + static_cast<std::ptrdiff_t>(before), tree.history().end());
      FAIL() << "round " << round << ":\n" << fmt::format("{}", fmt::join(changes, "\n"));
    }
  }
}

// Whatever is wrong with the previous version, the result is the same, only slower.
TEST_F(InheritanceTest, WithoutThePreviousManifestEverythingIsRead) {
  in_live(make_disk);
  publish_live();
  repository_.reset();
  ASSERT_TRUE(harness::run_checked(
      {"truncate", "-s", "8", (directory() / ".icbd/manifests/disk/1").string()}));
  open();
  const PublishReport report = publish_live();
  EXPECT_EQ(report.bytes_inherited, 0u);
  EXPECT_EQ(report.bytes_hashed, 16 * mebibyte);
  EXPECT_EQ(report.version.facts.parent, VersionNumber(1));
  EXPECT_EQ(report.version.facts.manifest, publish_live("scratch").version.facts.manifest);
  EXPECT_NE(log().find("everything is read"), std::string::npos) << log();
}

TEST_F(InheritanceTest, ALargeSparseImageCostsWhatChanged) {
  in_live("truncate -s 4G disk.raw; head -c 8M /dev/urandom | dd of=disk.raw bs=1M conv=notrunc");
  const PublishReport first = publish_live();
  EXPECT_EQ(first.bytes_hashed, 8 * mebibyte);
  EXPECT_EQ(first.version.facts.file_bytes, 4096 * mebibyte);
  EXPECT_EQ(first.version.facts.data_bytes, 8 * mebibyte);
  in_live("head -c 4096 /dev/urandom | dd of=disk.raw bs=4096 seek=500000 conv=notrunc");
  const PublishReport second = publish_both_ways();
  EXPECT_EQ(second.bytes_hashed, limits::chunk_size);
  EXPECT_EQ(second.bytes_inherited, 4096 * mebibyte - limits::chunk_size);
}

}  // namespace
}  // namespace icbd::repository
