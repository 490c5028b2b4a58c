// Bad input gets a clear error, and nothing is published or lost.

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <fstream>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

using testing::HasSubstr;

class BadInputTest : public SiteTest {
 protected:
  void expect_refused(const std::string& image, const std::string& path, const std::string& why) {
    const auto result = site->publish_path(image, path);
    ASSERT_FALSE(result.has_value());
    EXPECT_THAT(result.error().message(), HasSubstr(why));
    const auto status = site->ask_master("/api/status");
    ASSERT_DONE(status);
    EXPECT_EQ(status->at("versions").get<int>(), 0);
    EXPECT_FALSE(std::filesystem::exists(site->master_version(image, 1)));
  }
};

TEST_F(BadInputTest, PublishingWhatTheKernelMakesUp) {
  expect_refused("image", "/proc", "it is on proc");
}

TEST_F(BadInputTest, PublishingAnEmptyDirectory) {
  change("mkdir plain");
  expect_refused("image", (site->live() / "plain").string(), "it is empty");
}

TEST_F(BadInputTest, PublishingAPathThatDoesNotExist) {
  expect_refused("image", (site->live() / "nowhere").string(), "nowhere");
}

TEST_F(BadInputTest, PublishingUnderAMalformedOrReservedName) {
  for (const std::string name : {".hidden", "-dash", "a%20b", "latest", "current"})
    expect_refused(name, site->live().string(), "name");
}

TEST_F(BadInputTest, AMasterThatCannotBeReachedAtMountIsSaidAndTheMountComesUp) {
  change("head -c 1M /dev/urandom > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(site->start_cache("timeout = 1\n"));
  const auto status = site->ask_cache("/api/status");
  ASSERT_DONE(status);
  EXPECT_FALSE(status->at("master").at("reachable").get<bool>());
  EXPECT_THAT(site->cache().error_output(), HasSubstr("the master cannot be reached"));
  EXPECT_TRUE(std::filesystem::is_empty(site->mountpoint()));
  ASSERT_DONE(site->start_master());
  ASSERT_DONE(site->wait_until_listed("image", 1));
  expect_equal_through_view("image", 1);
}

TEST_F(BadInputTest, ReadingWhatIsNotHereWhileTheMasterIsAwayFailsInTime) {
  change("head -c 64M /dev/urandom > file");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache("timeout = 1\n"));
  ASSERT_DONE(harness::run_checked({"ls", "-l", site->view("image", 1).string()}));
  ASSERT_DONE(site->stop_master());
  const auto file = open_file(site->view("image", 1) / "file", O_RDONLY);
  ASSERT_DONE(file);
  Bytes bytes(4096);
  const auto got = read_at(file->get(), bytes, 60 * 1024 * 1024);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().errno_value(), EIO);
}

TEST_F(BadInputTest, ACorruptConfigurationNamesFileLineKeyAndSuggestion) {
  const auto file = site->folder() / "bad.toml";
  std::ofstream(file) << "[repository]\npath = \"/nowhere\"\n[view]\nmountpiont = \"/mnt\"\n";
  const auto result = harness::run({ICBD_PROGRAMS "/icbd-cache", "--config", file.string()});
  ASSERT_DONE(result);
  EXPECT_EQ(result->exit_code, 2);
  EXPECT_THAT(result->output, HasSubstr(file.string() + ":4"));
  EXPECT_THAT(result->output, HasSubstr("mountpiont"));
  EXPECT_THAT(result->output, HasSubstr("did you mean \"mountpoint\""));
}

// Half an example would be half a configuration.
TEST_F(BadInputTest, AnExampleThatCannotBeWrittenIsAFailure) {
  for (const char* program : {"icbd-master", "icbd-cache"}) {
    const auto result = harness::run(
        {"sh", "-c", fmt::format("'{}/{}' --print-example >/dev/full", ICBD_PROGRAMS, program)});
    ASSERT_DONE(result);
    EXPECT_EQ(result->exit_code, 1);
    EXPECT_THAT(result->output, HasSubstr("write the example: No space left on device"));
  }
}

TEST_F(BadInputTest, ARepositoryThatIsNotOnBtrfsIsRefused) {
  const auto file = site->folder() / "bad.toml";
  std::ofstream(file) << "[repository]\npath = \"/proc\"\n[rest]\nlisten = \"127.0.0.1:0\"\n"
                         "[data]\nlisten = \"127.0.0.1:0\"\n";
  const auto result = harness::run({ICBD_PROGRAMS "/icbd-master", "--config", file.string()});
  ASSERT_DONE(result);
  EXPECT_EQ(result->exit_code, 1);
  EXPECT_THAT(result->output, HasSubstr("BTRFS"));
}

// The master's disk gives other bytes than were published.
TEST_F(BadInputTest, AChunkThatDoesNotMatchItsManifestIsNeverServed) {
  change("head -c 4M /dev/urandom > file; head -c 1M /dev/urandom > sound");
  ASSERT_DONE(site->publish("image"));
  const auto version = site->master_version("image", 1).string();
  ASSERT_DONE(harness::shell_checked(
      "btrfs property set -f " + version + " ro false; printf X | dd of=" + version +
      "/file bs=1 seek=1500000 conv=notrunc status=none; sync; btrfs property set " + version +
      " ro true"));
  ASSERT_DONE(site->start_cache());
  const auto file = open_file(site->view("image", 1) / "file", O_RDONLY | O_DIRECT);
  ASSERT_DONE(file);
  alignas(4096) std::array<std::byte, 4096> bytes;
  const auto got = read_at(file->get(), bytes, 1'499'136 / 4096 * 4096);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().errno_value(), EIO);
  // The rest reads right, the version never becomes complete, and the reason is said.
  EXPECT_EQ(*harness::hash_file(site->view("image", 1) / "sound"),
            *harness::hash_file(site->live() / "sound"));
  ASSERT_DONE(Site::wait_until(
      [&] {
        const auto answer = site->ask_cache("/api/images/image/versions/1");
        return answer && answer->contains("progress") &&
               !answer->at("progress").at("failure").is_null() &&
               answer->at("progress").at("filling") == false;
      },
      "the failure to be reported"));
  const auto answer = site->ask_cache("/api/images/image/versions/1");
  ASSERT_DONE(answer);
  EXPECT_THAT(answer->at("progress").at("failure").get<std::string>(),
              HasSubstr("does not match its manifest"));
  EXPECT_EQ(site->state("image", 1), "arriving");
}

}  // namespace
}  // namespace icbd::system_test
