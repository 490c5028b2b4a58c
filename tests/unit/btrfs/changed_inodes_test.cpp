#include "icbd/btrfs/changed_inodes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <map>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"

namespace icbd::btrfs {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::Not;

class ChangedInodesTest : public harness::BtrfsTest {
 protected:
  // A snapshot of 2,000 files of all kinds.
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(create_subvolume(path() / "a"));
    in("a",
       "for i in $(seq 2000); do echo $i > f$i; done; mkdir d; echo x > d/file; ln -s f1 soft; "
       "ln f2 hard; head -c 1M /dev/urandom > large");
    ASSERT_TRUE(create_snapshot(path() / "a", path() / "b", false));
    root_ = *open_file(path() / "b", O_RDONLY | O_DIRECTORY);
  }
  void in(const std::string& folder, const std::string& script) {
    const auto done =
        harness::shell_checked(fmt::format("cd '{}'\n{}", (path() / folder).string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }
  std::vector<InodeNumber> changed() {
    EXPECT_TRUE(sync_filesystem(root_.get()));
    const auto found = inodes_changed_after(root_.get(), subvolume_info(root_.get())->creation);
    EXPECT_TRUE(found) << found.error().message();
    return found.value_or(std::vector<InodeNumber>{});
  }
  InodeNumber inode(const std::string& name) {
    struct stat status{};
    EXPECT_EQ(::lstat((path() / "b" / name).c_str(), &status), 0) << name;
    return InodeNumber(status.st_ino);
  }

  unique_fd root_;
};

TEST_F(ChangedInodesTest, ThereAreNoneInASnapshotThatNobodyHasTouched) {
  EXPECT_THAT(changed(), IsEmpty());
}

TEST_F(ChangedInodesTest, EveryKindOfChangeIsSeenAndNothingElse) {
  in("b",
     "echo more >> f10; chmod 600 f20; setfattr -n user.x -v 1 f30; touch -d @1 f40; "
     "mv f50 d/moved; truncate -s 1 f60; ln f70 link; rm hard; chown -h 1:1 soft; "
     "printf x | dd of=large bs=1 seek=500000 conv=notrunc status=none; "
     "cp --reflink=always large f80; fallocate -p -o 0 -l 4096 f90; chattr +i f100; echo new > "
     "new");
  const auto found = changed();
  for (const char* name : {"", "d", "f10", "f20", "f30", "f40", "d/moved", "f60", "f70", "f2",
                           "soft", "large", "f80", "f90", "f100", "new"})
    EXPECT_THAT(found, Contains(inode(name))) << name;
  for (const char* name : {"f1", "f9", "f11", "f2000", "d/file"})
    EXPECT_THAT(found, Not(Contains(inode(name)))) << name;
  EXPECT_EQ(found.size(), 16u);
  EXPECT_TRUE(std::ranges::is_sorted(found));
  in("b", "chattr -i f100");
}

TEST_F(ChangedInodesTest, MoreThanOneAnswerOfTheKernelsHolds) {
  in("b", "chmod 600 f*");
  EXPECT_EQ(changed().size(), 2000u);
}

TEST_F(ChangedInodesTest, AreThoseOfTheSubvolumeAlone) {
  in("a", "chmod 600 f1");
  EXPECT_THAT(changed(), IsEmpty());
}

}  // namespace
}  // namespace icbd::btrfs
