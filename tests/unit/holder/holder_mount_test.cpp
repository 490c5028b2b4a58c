// What a worker has mounted when the holder ends. Needs root.
#include <sys/mount.h>

#include <fstream>
#include <iterator>

#include "harness/loop_btrfs.h"
#include "unit/holder/holder_fixture.h"

namespace icbd::holder {
namespace {

class HolderMountTest : public HolderTest {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    std::filesystem::create_directory(mountpoint_);
  }
  void TearDown() override {
    holder_.reset();
    ::umount2(mountpoint_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const {
    std::ifstream file("/proc/self/mountinfo");
    const std::string table(std::istreambuf_iterator<char>(file), {});
    return table.find(" " + mountpoint_ + " ") != std::string::npos;
  }

  const std::string mountpoint_ = (folder_.path() / "mount").string();
};

TEST_P(HolderMountTest, WhatTheWorkerLeavesMountedIsUnmountedInTheEnd) {
  start({"mount:" + mountpoint_ + ",serve"});
  wait_for("ready 0");
  EXPECT_TRUE(is_mounted());
  EXPECT_EQ(stop(), 0);
  EXPECT_FALSE(is_mounted());
}

TEST_P(HolderMountTest, ItStaysBetweenTwoWorkers) {
  start({"mount:" + mountpoint_ + ",ready,raise:9", "serve"});
  wait_for("ready 1");
  EXPECT_TRUE(is_mounted());
  EXPECT_EQ(stop(), 0);
  EXPECT_FALSE(is_mounted()) << "the second worker did not say it again";
}

TEST_P(HolderMountTest, WhatIsNothingAnyMoreIsLeftAlone) {
  start({"mount:" + mountpoint_ + ",say:X_UNMOUNT=,serve"});
  wait_for("ready 0");
  EXPECT_EQ(stop(), 0);
  EXPECT_TRUE(is_mounted());
}

ICBD_WITH_BOTH_KINDS_OF_WORKERS(HolderMountTest);

}  // namespace
}  // namespace icbd::holder
