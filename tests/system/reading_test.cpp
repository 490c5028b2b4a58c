// What reading through the mount has fetched, and what it gives while the master is away.

#include <fcntl.h>
#include <gmock/gmock.h>

#include "icbd/base/file.h"

#include "harness/run.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;

class ReadingTest : public SiteTest {
 protected:
  static constexpr std::uint64_t mebibyte = 1024 * 1024;

  void publish(int versions) {
    for (int i = 0; i < versions; ++i) {
      change("mkdir -p etc; for i in $(seq 50); do head -c 100K /dev/urandom > etc/$i; done");
      ASSERT_DONE(site->publish("image"));
    }
  }
  std::uint64_t received() const {
    const auto status = site->ask_cache("/api/status");
    return status ? status->at("wire").at("bytes_received").get<std::uint64_t>() : 0;
  }
  // Errors of the shell are the result's.
  Status in_view(const std::string& script) const {
    const auto done =
        harness::shell_checked("cd '" + (site->mountpoint() / "image").string() + "'\n" + script);
    return done ? Status() : std::unexpected(done.error());
  }
  Result<Bytes> read_file_in_view(int version, const std::string& file) const {
    return read_file(site->view("image", version) / file, mebibyte);
  }
};

TEST_F(ReadingTest, ACrawlerThatLooksAtNamesAndBeginningsDoesNotHaveTheWorldFetched) {
  publish(3);
  ASSERT_DONE(site->start_cache("fill_threshold = \"10 MiB\"\n"));
  ASSERT_DONE(in_view("ls -lR . > /dev/null; for f in */etc/1 */etc/2; do head -c 100 $f; done"));
  for (int version = 1; version <= 3; ++version) {
    EXPECT_EQ(site->state("image", version), "arriving") << version;
    const auto progress = site->ask_cache("/api/images/image/versions/" + std::to_string(version));
    ASSERT_DONE(progress);
    EXPECT_EQ(progress->at("progress").at("phase"), "on_demand") << version;
  }
  EXPECT_LT(received(), 3 * mebibyte);
}

TEST_F(ReadingTest, DemandOnlyFetchesWhatIsRead) {
  publish(1);
  ASSERT_DONE(site->start_cache("fill = \"demand-only\"\n"));
  ASSERT_DONE(in_view("cat 1/etc/1 1/etc/2 > /dev/null"));
  EXPECT_EQ(site->state("image", 1), "arriving");
  EXPECT_LT(received(), 3 * mebibyte);
  // All of it read: nothing is missing any more.
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_landed_equal("image", 1);
}

TEST_F(ReadingTest, NeverFetchesNothingForReaders) {
  publish(1);
  ASSERT_DONE(site->start_cache("fill = \"never\"\n"));
  ASSERT_DONE(in_view("ls | grep -qx 1"));
  const auto inside = in_view("ls 1");
  ASSERT_FALSE(inside);
  EXPECT_THAT(inside.error().message(), testing::HasSubstr("Input/output error"));
  EXPECT_EQ(site->state("image", 1), "remote");
}

TEST_F(ReadingTest, WhileTheMasterIsAwayWhatIsHereIsServedAndTheRestFailsAtOnce) {
  publish(2);
  ASSERT_DONE(site->start_cache("timeout = 3600\noffline_after = 0.2\n"));
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(Site::wait_until(
      [&] {
        const auto status = site->ask_cache("/api/status");
        return status && status->at("master").at("offline") == true;
      },
      "the master's absence to be noticed"));
  // These would wait an hour for the timeout.
  const auto missing = read_file_in_view(2, "etc/1");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().errno_value(), EIO);
  ASSERT_DONE(read_file_in_view(1, "etc/1"));

  ASSERT_DONE(site->start_master());
  ASSERT_DONE(Site::wait_until([&] { return read_file_in_view(2, "etc/1").has_value(); },
                               "the master's return to be noticed"));
}

}  // namespace
}  // namespace icbd::system_test
