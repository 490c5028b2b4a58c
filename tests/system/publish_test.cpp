// Versions that were published from directories and disks arrive like any other; a publication that
// is stopped or killed leaves nothing.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "system/site.h"

namespace icbd::system_test {
namespace {

using nlohmann::json;
using testing::ElementsAre;

class PublishTest : public SiteTest {
 protected:
  // Beside the two filesystems of the site.
  std::filesystem::path elsewhere() const { return site->folder() / "elsewhere"; }
  void prepare(const std::string& script) {
    std::filesystem::create_directories(elsewhere());
    ASSERT_DONE(harness::shell_checked(fmt::format("cd '{}'\n{}", elsewhere().string(), script)));
  }
  Result<json> job(const std::string& id) const { return site->ask_master("/api/jobs/" + id); }
  // The report, when it has ended well.
  json publish(const json& body) {
    const auto started = site->tell_master("/api/images/image/versions", body);
    EXPECT_TRUE(started) << started.error().message();
    if (!started) return {};
    json report;
    const auto ended = Site::wait_until(
        [&] {
          const auto now = job((*started)["job"]);
          if (now) report = *now;
          return now && report["state"] != "running";
        },
        "the publication to end");
    EXPECT_TRUE(ended) << ended.error().message();
    EXPECT_EQ(report["state"], "done") << report.dump();
    return report["result"];
  }
  // Starts one that takes a while, and returns while it copies.
  void begin_long_publication() {
    prepare("yes icbd | head -c 600M > big.raw");
    const auto started = site->tell_master("/api/images/image/versions",
                                           {{"path", (elsewhere() / "big.raw").string()}});
    ASSERT_DONE(started);
    ASSERT_DONE(Site::wait_until(
        [&] {
          const auto now = job((*started)["job"]);
          return now && (*now)["phase"] == "copying" && (*now)["bytes_done"] > 0;
        },
        "bytes to be copied"));
    const auto now = job((*started)["job"]);
    ASSERT_DONE(now);
    ASSERT_EQ((*now)["state"], "running") << "it was too fast to be stopped";
  }
  std::vector<std::string> image_directory() const {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& entry :
         std::filesystem::directory_iterator(site->master_version("image", 1).parent_path(), none))
      names.push_back(entry.path().filename().string());
    return names;
  }
};

TEST_F(PublishTest, DirectoriesAndDisksArriveLikeAnyOther) {
  prepare(
      "mkdir -p tree/netboot tree/etc; echo kernel > tree/netboot/vmlinuz; ln tree/netboot/vmlinuz "
      "tree/etc/link; head -c 3M /dev/urandom > tree/etc/file\n"
      "truncate -s 32M disk.raw; dd if=/dev/urandom of=disk.raw bs=1M seek=3 count=2 "
      "conv=notrunc status=none; qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  const json first = publish({{"path", (elsewhere() / "tree").string()},
                              {"message", "a tree"},
                              {"boot", "netboot"},
                              {"tags", {"stable"}}});
  EXPECT_EQ(first["kind"], "directory");
  EXPECT_EQ(first["version"]["boot_directory"], "netboot");
  const json second =
      publish({{"path", (elsewhere() / "disk.qcow2").string()}, {"message", "a disk"}});
  EXPECT_EQ(second["kind"], "qcow2");
  EXPECT_EQ(second["version"]["target_file"], "disk.raw");
  EXPECT_EQ(second["version"]["boot_directory"], "netboot");

  ASSERT_DONE(site->start_cache());
  for (const int number : {1, 2}) {
    ASSERT_DONE(site->wait_until_listed("image", number));
    expect_equal_through_view("image", number);
    ASSERT_DONE(site->wait_until_complete("image", number));
    expect_landed_equal("image", number);
  }
  EXPECT_EQ(harness::diff_trees(elsewhere() / "tree", site->cache_version("image", 1)), "");
  EXPECT_EQ(*harness::hash_file(site->cache_version("image", 2) / "disk.raw"),
            *harness::hash_file(elsewhere() / "disk.raw"));
}

TEST_F(PublishTest, AMasterThatStopsGivesUpThePublication) {
  ASSERT_NO_FATAL_FAILURE(begin_long_publication());
  ASSERT_DONE(site->stop_master());
  EXPECT_THAT(image_directory(), ElementsAre());
  ASSERT_DONE(site->start_master());
}

TEST_F(PublishTest, AKilledPublicationLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(begin_long_publication());
  site->kill_master();
  EXPECT_THAT(image_directory(), ElementsAre(".publishing-1"));
  ASSERT_DONE(site->start_master());
  EXPECT_THAT(image_directory(), ElementsAre());
  const json report = publish({{"path", (elsewhere() / "big.raw").string()}});
  EXPECT_EQ(report["version"]["number"], 1);
}

}  // namespace
}  // namespace icbd::system_test
