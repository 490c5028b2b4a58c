// A shape holds back what later writes would remove or forbid.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "applier_fixture.h"
#include "harness/run.h"

namespace icbd::applier {
namespace {

class HoldBack : public ApplierTest {
 protected:
  struct stat stat_of(const std::string& name) {
    struct stat status{};
    EXPECT_EQ(::lstat((path() / name).c_str(), &status), 0) << name;
    return status;
  }
  bool has_xattr(const std::string& name, const char* xattr) {
    return ::lgetxattr((path() / name).c_str(), xattr, nullptr, 0) >= 0;
  }
};

TEST_F(HoldBack, AShapeOfANewTree) {
  make_subvolume("tree");
  shell(R"(cd tree
    cp /bin/true program && chmod 6755 program && setcap cap_net_raw+ep program
    setfattr -n user.x -v y program
    mkdir directory && chmod 2755 directory
    touch -d 2001-01-01 program directory)");
  publish("tree", "one");
  make_subvolume("copy");
  const Status applied =
      apply_stream(send("--proto 2 --no-data one"), "copy", {.policy = {}, .hold_back = true});
  ASSERT_TRUE(applied) << applied.error().message();

  EXPECT_EQ(stat_of("copy/program").st_mode & 07777u, 0755u);
  EXPECT_EQ(stat_of("copy/program").st_size, stat_of("one/program").st_size);
  EXPECT_FALSE(has_xattr("copy/program", "security.capability"));
  EXPECT_TRUE(has_xattr("copy/program", "user.x"));
  EXPECT_NE(stat_of("copy/program").st_mtim.tv_sec, stat_of("one/program").st_mtim.tv_sec);
  EXPECT_EQ(stat_of("copy/directory").st_mode & 07777u, 02755u);
  EXPECT_NE(stat_of("copy/directory").st_mtim.tv_sec, stat_of("one/directory").st_mtim.tv_sec);
}

// The kernel sends the flags of a file that has changed, not those of a new one.
class HoldBackFlags : public HoldBack {
 protected:
  void SetUp() override {
    HoldBack::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    make_subvolume("tree");
    shell("cp /bin/true tree/program");
    publish("tree", "one");
    shell(R"(cd tree
      echo more >>program
      chmod 6755 program && setcap cap_net_raw+ep program
      touch -d 2001-01-01 program
      chattr +i program)");
    publish("tree", "two");
    shell("chattr -i tree/program");
    stage("one", "copy");
  }
  bool is_immutable(const std::string& name) {
    return harness::shell("echo x >>" + (path() / name).string())->exit_code != 0;
  }
};

TEST_F(HoldBackFlags, AShapeLeavesTheFileWritable) {
  const Status applied = apply_stream(send("--proto 2 --no-data -p one two"), "copy",
                                      {.policy = {}, .hold_back = true});
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(stat_of("copy/program").st_mode & 07777u, 0755u);
  EXPECT_FALSE(is_immutable("copy/program"));
}

TEST_F(HoldBackFlags, NothingIsHeldBackFromAFullStream) {
  const Status applied = apply_stream(send("--proto 2 -p one two"), "copy");
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(difference("two", "copy"), "");
  EXPECT_TRUE(is_immutable("copy/program"));
  shell("chattr -i copy/program");
}

}  // namespace
}  // namespace icbd::applier
