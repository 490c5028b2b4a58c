// A clean stop and start of either daemon during an arrival continues it.

#include <fcntl.h>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

class RestartTest : public SiteTest {
 protected:
  static constexpr std::uint64_t image_bytes = 400 * 1024 * 1024;

  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("head -c 400M /dev/urandom > disk.raw; setcap cap_net_raw+ep disk.raw");
    ASSERT_DONE(site->publish("image"));
    ASSERT_DONE(site->start_cache());
  }

  std::uint64_t received() const {
    const auto status = site->ask_cache("/api/status");
    return status ? status->at("wire").at("bytes_received").get<std::uint64_t>() : 0;
  }

  // Begins the arrival and waits until a part of it is here, but not all.
  void begin() {
    const auto file = open_file(site->view("image", 1) / "disk.raw", O_RDONLY);
    ASSERT_DONE(file);
    Bytes bytes(4096);
    ASSERT_DONE(read_exactly_at(file->get(), bytes, 0));
    ASSERT_DONE(Site::wait_until([&] { return received() > image_bytes / 8; }, "a first part"));
  }
};

TEST_F(RestartTest, TheCacheGoesOnWhereItWas) {
  begin();
  const std::uint64_t before = received();
  ASSERT_EQ(site->state("image", 1), "arriving") << "the machine was too fast for this test";
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_landed_equal("image", 1);
  // Counted from the restart: what was here before is not fetched again (a few batches that were
  // under way are).
  EXPECT_LT(received(), image_bytes - before + 32 * 1024 * 1024);
}

TEST_F(RestartTest, TheCacheIsReadableThroughARestartOfTheMaster) {
  begin();
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(site->start_master());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  expect_landed_equal("image", 1);
}

TEST_F(RestartTest, ACompleteVersionIsServedWithoutAMaster) {
  begin();
  ASSERT_DONE(site->wait_until_complete("image", 1));
  ASSERT_DONE(site->stop_cache());
  ASSERT_DONE(site->stop_master());
  ASSERT_DONE(site->start_cache());
  EXPECT_EQ(site->state("image", 1), "complete");
  expect_equal_through_view("image", 1);
}

}  // namespace
}  // namespace icbd::system_test
