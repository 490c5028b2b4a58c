// A full disk, on the cache or the master, at each phase: complete versions are served all the
// while, nothing becomes complete that is not, and with room again it goes on by itself.

#include <fcntl.h>
#include <fmt/format.h>

#include <optional>

#include "icbd/base/file.h"

#include "harness/random_tree.h"
#include "system/model.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr std::uint64_t filesystem_size = 768 * mebibyte;
constexpr std::uint64_t disk_size = 48 * mebibyte;
const std::string image = "image";

// Takes all the room there is for data, until it is destroyed.
class Ballast {
 public:
  explicit Ballast(const std::filesystem::path& root) : path_(root / "ballast") {
    const auto fd = open_file(path_, O_RDWR | O_CREAT, 0600);
    EXPECT_TRUE(fd) << fd.error().message();
    off_t size = 0;
    for (off_t step = 256 * static_cast<off_t>(mebibyte); step >= 4096;) {
      if (fallocate(fd->get(), 0, size, step) == 0)
        size += step;
      else
        step /= 2;
    }
    EXPECT_GT(size, 0);
    fsync(fd->get());
  }
  ~Ballast() {
    std::filesystem::remove(path_);
    // Freed for others only with the next commit.
    static_cast<void>(harness::run({"sync", "-f", path_.parent_path().string()}));
  }
  Ballast(const Ballast&) = delete;
  Ballast& operator=(const Ballast&) = delete;

 private:
  const std::filesystem::path path_;
};

class DiskFullTest : public SiteTest {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto created = Site::create(filesystem_size);
    ASSERT_DONE(created);
    site = std::move(*created);
    live.emplace(site->live(), seed);
    ASSERT_DONE(site->use_proxy());
    ASSERT_DONE(live->fill("disk.raw", disk_size));
    ASSERT_DONE(live->fill("small", 3'000));
    publish_model(1);
    ASSERT_DONE(site->start_cache());
    look_into(1);
    ASSERT_DONE(site->wait_until_complete(image, 1));
  }

  void publish_model(int number) {
    model.add(number, live->tree());
    const auto published = site->publish(image);
    ASSERT_DONE(published);
    ASSERT_EQ(*published, number);
  }
  // Whatever the answer is, it is asked for.
  void look_into(int number) {
    ASSERT_DONE(site->wait_until_listed(image, number));
    static_cast<void>(
        harness::run({"head", "-c1", (site->view(image, number) / "disk.raw").string()}));
  }
  // "" or why the arrival does not go on.
  std::string failure(int number) const {
    const auto version = site->ask_cache(fmt::format("/api/images/{}/versions/{}", image, number));
    if (!version || !version->contains("progress")) return "";
    const auto& said = version->at("progress").at("failure");
    return said.is_null() ? "" : said.get<std::string>();
  }
  void expect_first_version_served() {
    EXPECT_EQ(model.check(1, site->view(image, 1)), "");
    EXPECT_EQ(site->state(image, 1), "complete");
  }
  void expect_complete_and_right(int number) {
    look_into(number);
    ASSERT_DONE(site->wait_until_complete(image, number));
    EXPECT_EQ(model.check(number, site->cache_version(image, number)), "");
    EXPECT_EQ(model.check(number, site->view(image, number)), "");
    expect_landed_equal(image, number);
  }

  const std::uint64_t seed = harness::test_seed();
  Model model;
  std::optional<LiveImage> live;
};

TEST_F(DiskFullTest, OnTheCacheBeforeTheShape) {
  ASSERT_DONE(live->fill("disk.raw", disk_size));
  publish_model(2);
  {
    const Ballast ballast(site->cache_root());
    CheckedReaders readers(model, site->mountpoint() / image, seed);
    ASSERT_DONE(Site::wait_until([&] { return readers.right() + readers.errors() > 100; },
                                 "readers to be answered"));
    readers.stop();
    EXPECT_EQ(readers.wrong(), "");
    EXPECT_NE(site->state(image, 2), "complete");
    expect_first_version_served();
  }
  expect_complete_and_right(2);
}

TEST_F(DiskFullTest, OnTheCacheInTheMiddleOfAnArrival) {
  ASSERT_DONE(live->fill("disk.raw", disk_size));
  publish_model(2);
  site->proxy().set_rate(20 * mebibyte);
  const auto received = [&] { return site->proxy().bytes(harness::Direction::to_client); };
  const auto before = received();
  look_into(2);
  ASSERT_DONE(Site::wait_until([&] { return received() > before + disk_size / 4; }, "a part"));
  {
    const Ballast ballast(site->cache_root());
    site->proxy().set_rate(0);
    ASSERT_DONE(
        Site::wait_until([&] { return failure(2) != "" || site->state(image, 2) == "complete"; },
                         "the arrival to pause"));
    EXPECT_EQ(site->state(image, 2), "arriving");
    expect_first_version_served();
    // A reader of what has not come is answered right, or told that it cannot be.
    CheckedReaders readers(model, site->mountpoint() / image, seed);
    ASSERT_DONE(Site::wait_until([&] { return readers.right() + readers.errors() > 50; },
                                 "readers to be answered"));
    readers.stop();
    EXPECT_EQ(readers.wrong(), "");
  }
  expect_complete_and_right(2);
}

TEST_F(DiskFullTest, OnTheMasterWhilePublishing) {
  ASSERT_DONE(live->fill("disk.raw", disk_size));
  {
    const Ballast ballast(site->master_root());
    // It may fit yet into what metadata has; if not, it says why.
    const auto published = site->publish(image);
    if (published)
      EXPECT_EQ(*published, 2);
    else
      EXPECT_NE(published.error().message(), "");
    if (published) model.add(2, live->tree());
    EXPECT_EQ(model.check(1, site->master_version(image, 1)), "");
    expect_first_version_served();
  }
  const int number = model.version(2) ? 3 : 2;
  publish_model(number);
  EXPECT_EQ(model.check(number, site->master_version(image, number)), "");
  expect_complete_and_right(number);
}

}  // namespace
}  // namespace icbd::system_test
