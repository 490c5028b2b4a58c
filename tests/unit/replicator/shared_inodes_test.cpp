// What is taken for the parent's without a look at it, and what is not.

#include "shared_inodes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/changed_inodes.h"
#include "icbd/btrfs/subvolume.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

class SharedInodesTest : public ArrivalTest {
 protected:
  void SetUp() override {
    ArrivalTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    publish("echo 1 > one; echo 2 > two; ln two zwei; mkdir directory; echo 3 > directory/three");
    start();
    ASSERT_TRUE(let_arrive(1));
    const auto version = cache_->catalog().version("image", VersionNumber(1));
    ASSERT_DONE(version);
    LocalVersions local(*cache_);
    const auto parent = local.open(*version);
    ASSERT_DONE(parent);
    parent_ = *parent;
  }
  std::filesystem::path parent_path() { return cache_->version_path("image", VersionNumber(1)); }
  std::filesystem::path staging() { return path() / "staging"; }
  void snapshot() { ASSERT_DONE(btrfs::create_snapshot(parent_path(), staging(), false)); }
  void in(const std::filesystem::path& folder, const std::string& script) {
    ASSERT_DONE(harness::shell_checked("cd '" + folder.string() + "'\n" + script));
  }
  // The path of the parent's entry that a staged file is taken for.
  std::string taken_for(const std::string& name) {
    const auto opened = Staging::open(staging());
    EXPECT_TRUE(opened && btrfs::sync_filesystem(opened->root_fd()));
    const auto shared = SharedInodes::look(*opened, parent_);
    EXPECT_TRUE(shared) << shared.error().message();
    struct stat status{};
    EXPECT_EQ(::lstat((staging() / name).c_str(), &status), 0) << name;
    const manifest::Entry* entry = shared->find(InodeNumber(status.st_ino));
    return entry == nullptr ? "nothing" : entry->path;
  }

  std::shared_ptr<const LocalVersion> parent_;
};

TEST_F(SharedInodesTest, WhatNobodyTouchedIsTheParentsAlsoUnderAnotherDirectorysName) {
  snapshot();
  EXPECT_EQ(taken_for("one"), "one");
  EXPECT_EQ(taken_for("zwei"), "two");
  EXPECT_EQ(taken_for("directory/three"), "directory/three");
  in(staging(), "mv directory moved");
  EXPECT_EQ(taken_for("moved/three"), "directory/three");
}

TEST_F(SharedInodesTest, WhatWasTouchedIsNothingThatIsKnown) {
  snapshot();
  in(staging(), "echo x >> one; chmod 600 two; echo new > new");
  EXPECT_EQ(taken_for("one"), "nothing");
  EXPECT_EQ(taken_for("zwei"), "nothing");
  EXPECT_EQ(taken_for("new"), "nothing");
  EXPECT_EQ(taken_for("directory/three"), "directory/three");
}

TEST_F(SharedInodesTest, WhatSomebodyChangedInTheParentBeforeTheSnapshotIsNotTakenForIt) {
  in(path(), "btrfs property set -f '" + parent_path().string() + "' ro false");
  in(parent_path(), "echo 9 > one");
  snapshot();
  EXPECT_EQ(taken_for("one"), "nothing");
  EXPECT_EQ(taken_for("two"), "two");
}

TEST_F(SharedInodesTest, ASnapshotOfSomethingElseSharesNothing) {
  ASSERT_DONE(
      btrfs::create_snapshot(master_->version_path("image", VersionNumber(1)), staging(), false));
  EXPECT_EQ(taken_for("one"), "nothing");
}

TEST_F(SharedInodesTest, ALandingLeavesWhatHasNotChangedOnTheParentsBlocks) {
  publish("for i in $(seq 500); do echo $i > f$i; done");
  publish("echo more >> f7");
  ASSERT_TRUE(let_arrive(2));
  ASSERT_TRUE(let_arrive(3));
  expect_landed_equal(3);
  const auto root = open_file(cache_->version_path("image", VersionNumber(3)), O_RDONLY);
  ASSERT_DONE(root);
  const auto info = btrfs::subvolume_info(root->get());
  ASSERT_DONE(info);
  const auto changed = btrfs::inodes_changed_after(root->get(), info->creation);
  ASSERT_DONE(changed);
  EXPECT_LE(changed->size(), 2u) << "f7, and perhaps the root directory";
}

}  // namespace
}  // namespace icbd::replicator
