// `icbd fsck` between two lives of a daemon: what was damaged is found, put aside and fetched
// again; a lost catalog is rebuilt, and caches go on with the master that has lost it.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class FsckTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("mkdir etc; echo one > etc/motd; head -c 20M /dev/urandom > disk.raw");
    ASSERT_DONE(site->publish("image"));
    change(
        "echo two > etc/motd; head -c 1M /dev/urandom | dd of=disk.raw bs=1M seek=3 conv=notrunc");
    ASSERT_DONE(site->publish("image"));
    ASSERT_DONE(site->start_cache());
    for (const int number : {1, 2}) {
      expect_equal_through_view("image", number);
      ASSERT_DONE(site->wait_until_complete("image", number));
    }
  }

  harness::RunResult fsck(const std::string& daemon, std::vector<std::string> more = {}) const {
    std::vector<std::string> command = {ICBD_PROGRAMS "/icbd", "fsck", "--config",
                                        (site->folder() / (daemon + ".toml")).string()};
    command.insert(command.end(), more.begin(), more.end());
    const auto result = harness::run(command);
    EXPECT_TRUE(result) << result.error().message();
    return result.value_or(harness::RunResult{.exit_code = -1, .output = {}});
  }
  std::filesystem::path master_catalog() const {
    return site->master_root() / "repository/.icbd/catalog.sqlite3";
  }
};

TEST_F(FsckTest, ACleanSiteIsClean) {
  EXPECT_EQ(fsck("cache").exit_code, 2);
  EXPECT_THAT(fsck("master").output, HasSubstr("stop its daemon first"));
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->stop_master());
  for (const std::string daemon : {"cache", "master"}) {
    const auto result = fsck(daemon, {"--data", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const json report = json::parse(result.output);
    EXPECT_EQ(report.at("role"), daemon);
    EXPECT_EQ(report.at("versions"), 2);
    EXPECT_EQ(report.at("result"), "clean");
    EXPECT_TRUE(report.at("findings").empty());
  }
  const auto unread =
      harness::run({"sh", "-c",
                    fmt::format("'{}' fsck --config '{}' >/dev/full", ICBD_PROGRAMS "/icbd",
                                (site->folder() / "master.toml").string())});
  ASSERT_DONE(unread);
  EXPECT_EQ(unread->exit_code, 2) << "1 would say that something was repaired";
  EXPECT_THAT(unread->output, HasSubstr("standard output could not be written"));
}

TEST_F(FsckTest, DamageOnACacheIsPutAsideAndFetchedAgain) {
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(
      harness::shell_checked(fmt::format("cd '{}'; btrfs property set -f . ro false; printf x | dd "
                                         "of=disk.raw bs=1 seek=5000000 conv=notrunc; "
                                         "btrfs property set . ro true",
                                         site->cache_version("image", 1).string())));
  EXPECT_EQ(fsck("cache", {"--data"}).exit_code, 3);
  const auto repaired = fsck("cache", {"--repair", "--data"});
  EXPECT_EQ(repaired.exit_code, 1) << repaired.output;
  EXPECT_THAT(repaired.output, HasSubstr("made remote, to be fetched again"));
  EXPECT_EQ(fsck("cache", {"--data"}).exit_code, 0);
  ASSERT_DONE(site->start_cache());
  ASSERT_DONE(site->wait_until_listed("image", 1));
  EXPECT_EQ(site->state("image", 1), "remote");
  EXPECT_EQ(site->state("image", 2), "complete");
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_landed_equal("image", 1);
}

TEST_F(FsckTest, AReportWithNamesThatAreNoUtf8IsJsonToo) {
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(harness::shell_checked(
      fmt::format("cd '{}'; btrfs property set -f . ro false; printf x >\"$(printf 'caf\\351')\"; "
                  "btrfs property set . ro true",
                  site->cache_version("image", 1).string())));
  const auto link = site->folder() / "caf\351";
  std::filesystem::create_directory_symlink(site->cache_root() / "repository", link);
  const auto result = harness::run({ICBD_PROGRAMS "/icbd", "fsck", "--json", "--repository", link});
  ASSERT_DONE(result);
  EXPECT_EQ(result->exit_code, 3) << "findings are left";
  const json report = json::parse(result->output, nullptr, false);
  ASSERT_TRUE(report.is_object()) << result->output;
  EXPECT_EQ(report.at("result"), "left");
  EXPECT_THAT(report.at("repository").get<std::string>(), HasSubstr("caf\uFFFD"));
}

TEST_F(FsckTest, ACacheGoesOnWithAMasterWhoseCatalogWasRebuilt) {
  ASSERT_DONE(site->stop_master());
  for (const char* suffix : {"", "-wal", "-shm"})
    std::filesystem::remove(master_catalog().string() + suffix);
  ASSERT_DONE(site->launch_master());
  const auto code = site->master().wait_for_exit(std::chrono::seconds(20));
  ASSERT_DONE(code);
  EXPECT_NE(*code, 0);
  EXPECT_THAT(site->master().error_output(), HasSubstr("icbd fsck --repair --repository"));
  EXPECT_FALSE(std::filesystem::exists(master_catalog()));

  const auto repaired = fsck("master", {"--repair"});
  EXPECT_EQ(repaired.exit_code, 1) << repaired.output;
  ASSERT_DONE(site->start_master());
  change("echo three > etc/motd");
  const auto number = site->publish("image");
  ASSERT_DONE(number);
  EXPECT_EQ(*number, 3);
  ASSERT_DONE(site->wait_until_listed("image", 3));
  for (const int each : {1, 2, 3}) expect_equal_through_view("image", each);
  EXPECT_EQ(site->state("image", 1), "complete");
}

}  // namespace
}  // namespace icbd::system_test
