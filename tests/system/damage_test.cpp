// What an administrator, or another program, can do to a cache while it serves.

#include <fcntl.h>
#include <gmock/gmock.h>

#include <fstream>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

using ::testing::HasSubstr;
const std::string image = "image";

class DamageTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("head -c 3M /dev/urandom > disk.raw; echo first > file");
    ASSERT_DONE(site->publish(image));
    ASSERT_DONE(site->start_cache());
    complete();
  }

  void complete() {
    ASSERT_DONE(site->cache_client().post("/api/images/image/versions/1/pull", nlohmann::json()));
    ASSERT_DONE(site->wait_until_complete(image, 1));
  }
  std::string read(const std::string& name) const {
    std::ifstream file(site->view(image, 1) / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string published(const std::string& name) const {
    std::ifstream file(site->master_version(image, 1) / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // A second cache that is told so and has to refuse; what it says.
  std::string start_another(const std::string& repository, const std::string& mountpoint) const {
    const auto result = harness::run(
        {std::string(ICBD_PROGRAMS) + "/icbd-cache", "--set", "repository.path=" + repository,
         "--set", "view.mountpoint=" + mountpoint, "--set", "rest.listen=127.0.0.1:0", "--set",
         "master.data=" + site->master_data()});
    EXPECT_TRUE(result) << result.error().message();
    if (!result) return "";
    EXPECT_EQ(result->exit_code, 1);
    return result->output;
  }
};

TEST_F(DamageTest, AVersionThatSomebodyDeletesIsFetchedAgain) {
  const std::string disk = published("disk.raw");
  EXPECT_EQ(read("disk.raw"), disk);
  const auto held = open_file(site->view(image, 1) / "disk.raw", O_RDONLY);
  ASSERT_DONE(held);
  ASSERT_DONE(harness::run_checked(
      {"btrfs", "subvolume", "delete", site->cache_version(image, 1).string()}));
  EXPECT_EQ(read("disk.raw"), disk);
  EXPECT_EQ(read("file"), "first\n");
  Bytes bytes(disk.size());
  ASSERT_DONE(read_exactly_at(held->get(), bytes, 0));
  EXPECT_EQ(as_text(bytes), disk) << "what was open goes on";
  complete();
  expect_landed_equal(image, 1);
  EXPECT_THAT(site->cache().error_output(),
              HasSubstr("image@1 is given up and will be fetched again when it is wanted: "));
}

TEST_F(DamageTest, AVersionThatSomebodyWritesToIsKeptAsideAndFetchedAgain) {
  EXPECT_EQ(read("file"), "first\n");
  const auto place = site->cache_version(image, 1);
  ASSERT_DONE(harness::run_checked(
      {"btrfs", "property", "set", "-f", "-ts", place.string(), "ro", "false"}));
  std::ofstream(place / "file") << "changed\n";
  std::ofstream(place / "another") << "valuable\n";
  // Not opened before: noticed by whoever opens it.
  EXPECT_EQ(read("disk.raw"), published("disk.raw"));
  EXPECT_EQ(read("file"), "first\n");
  complete();
  expect_landed_equal(image, 1);
  std::ifstream kept(place.string() + ".changed/another");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), "valuable\n");
  EXPECT_THAT(site->cache().error_output(), HasSubstr("what is there is kept as"));
}

// Files that the kernel reads by itself are opened without anyone looking.
TEST_F(DamageTest, WhatNobodyOpensAnewIsNoticedInAMoment) {
  EXPECT_EQ(read("disk.raw"), published("disk.raw"));
  const auto place = site->cache_version(image, 1);
  ASSERT_DONE(harness::run_checked(
      {"btrfs", "property", "set", "-f", "-ts", place.string(), "ro", "false"}));
  ASSERT_DONE(Site::wait_until([&] { return site->state(image, 1) != "complete"; },
                               "the version to be given up"));
}

TEST_F(DamageTest, TwoCachesDoNotShareARepository) {
  const auto other = site->folder() / "other";
  std::filesystem::create_directory(other);
  EXPECT_THAT(start_another((site->cache_root() / "repository").string(), other.string()),
              HasSubstr("another daemon"));
  EXPECT_EQ(read("file"), "first\n");
}

TEST_F(DamageTest, TwoCachesDoNotShareAMountpoint) {
  const auto other = site->cache_root() / "other";
  std::filesystem::create_directory(other);
  EXPECT_THAT(start_another(other.string(), site->mountpoint().string()),
              HasSubstr("a view is mounted there already, and is served; umount it first"));
  EXPECT_EQ(read("file"), "first\n");
}

TEST_F(DamageTest, WithoutTheFuseDeviceItSaysSo) {
  ASSERT_DONE(site->stop_cache());
  const auto result = harness::shell(
      "unshare --mount sh -c 'mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3 && mknod "
      "/dev/urandom c 1 9 && " +
      std::string(ICBD_PROGRAMS) + "/icbd-cache --config " +
      (site->folder() / "cache.toml").string() + "'");
  ASSERT_DONE(result);
  EXPECT_EQ(result->exit_code, 1);
  EXPECT_THAT(result->output, HasSubstr("open /dev/fuse (is the fuse module loaded?)"));
}

TEST_F(DamageTest, WithoutThePermissionToMountItSaysSo) {
  ASSERT_DONE(site->stop_cache());
  const auto result = harness::run({"setpriv", "--bounding-set", "-sys_admin", "--inh-caps",
                                    "-sys_admin", std::string(ICBD_PROGRAMS) + "/icbd-cache",
                                    "--config", (site->folder() / "cache.toml").string()});
  ASSERT_DONE(result);
  EXPECT_EQ(result->exit_code, 1);
  EXPECT_THAT(result->output, HasSubstr("Operation not permitted"));
}

}  // namespace
}  // namespace icbd::system_test
