// Snapshots that are there already become versions that caches read, and a stopped adoption goes
// on with the next start.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "system/site.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class AdoptTest : public SiteTest {
 protected:
  // As btrbk leaves them: three states of live(), beside the repository.
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    std::filesystem::create_directory(backups());
    change("mkdir etc; head -c 20M /dev/urandom > disk.raw");
    for (const int day : {1, 2, 3}) {
      change(fmt::format("echo day {} > etc/motd", day));
      ASSERT_DONE(harness::run_checked(
          {"btrfs", "subvolume", "snapshot", "-r", site->live().string(), snapshot(day).string()}));
    }
  }
  std::filesystem::path backups() const { return site->master_root() / "backups"; }
  std::filesystem::path snapshot(int day) const {
    return backups() / fmt::format("disk.2026010{}T0300", day);
  }
  Result<json> adopt() const {
    return site->tell_master(
        "/api/images/image/adoptions",
        {{"paths", {snapshot(3).string(), snapshot(1).string(), snapshot(2).string()}}});
  }
  bool has_versions(std::size_t count) const {
    const auto image = site->ask_master("/api/images/image");
    return image && image->at("versions").size() == count;
  }
  void expect_adopted() {
    ASSERT_DONE(site->start_cache());
    for (const int number : {1, 2, 3}) {
      ASSERT_DONE(site->wait_until_listed("image", number));
      EXPECT_EQ(harness::diff_trees(snapshot(number), site->view("image", number)), "");
      ASSERT_DONE(site->wait_until_complete("image", number));
      EXPECT_EQ(harness::diff_trees(snapshot(number), site->cache_version("image", number)), "");
    }
  }
};

TEST_F(AdoptTest, CachesReadWhatWasAdopted) {
  const auto started = adopt();
  ASSERT_DONE(started);
  ASSERT_DONE(Site::wait_until([&] { return has_versions(3); }, "three versions"));
  const auto again = adopt();
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message(), HasSubstr("same identity"));
  expect_adopted();
}

TEST_F(AdoptTest, AStoppedAdoptionGoesOn) {
  ASSERT_DONE(adopt());
  site->kill_master();
  ASSERT_DONE(site->start_master());
  ASSERT_DONE(Site::wait_until([&] { return has_versions(3); }, "three versions"));
  expect_adopted();
}

}  // namespace
}  // namespace icbd::system_test
