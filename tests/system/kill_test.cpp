// kill -9 of the cache, the master or both, at random moments of publish, shape, fill and landing,
// under readers that know what every byte must be.
//
// After each kill: what was published or complete still is, every complete version is right, the
// arrival goes on by itself, and no subvolume is there that the catalog does not name.

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "harness/random_tree.h"
#include "system/long_run.h"
#include "system/model.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t disk_size = 4 * 1024 * 1024;
// So that an arrival lasts long enough to be killed in all of its phases.
constexpr std::uint64_t bytes_per_second = 6 * 1024 * 1024;
// A publish, its arrival and its landing take about as long.
constexpr int latest_kill_ms = 600;
constexpr int kills_per_site = 25;
const std::string image = "image";

enum class Victim { cache, master, both };

class KillTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    live.emplace(site->live(), seed);
    ASSERT_DONE(site->use_proxy());
    site->proxy().set_rate(bytes_per_second);
    ASSERT_DONE(live->fill("disk.raw", disk_size));
    ASSERT_DONE(live->fill("d0/small", 5'000));
    model.add(1, live->tree());
    ASSERT_DONE(site->publish(image));
    ASSERT_DONE(site->start_cache());
  }

  bool published(int number) const {
    const auto version = site->ask_master(fmt::format("/api/images/{}/versions/{}", image, number));
    EXPECT_TRUE(version || version.error().code() == ErrorCode::not_found)
        << version.error().message();
    return version.has_value();
  }

  // Begins to publish the next version and returns at once: somebody may kill the master.
  void begin_publish() {
    model.add(newest + 1, live->tree());
    const auto accepted =
        site->tell_master("/api/images/" + image + "/versions",
                          {{"path", site->live().string()}, {"message", "a test"}});
    ASSERT_DONE(accepted);
    job = accepted->at("job").get<std::string>();
  }

  // The version that was being published is there, by itself or now. A master that was started
  // anew does not know the job any more.
  void end_publish() {
    ASSERT_DONE(Site::wait_until(
        [&] {
          const auto answer = site->ask_master("/api/jobs/" + job);
          return !answer || answer->at("state") != "running";
        },
        "the publication to end"));
    if (!published(newest + 1)) {
      const auto number = site->publish(image);
      ASSERT_DONE(number);
      ASSERT_EQ(*number, newest + 1);
    }
    ++newest;
  }

  void kill(Victim victim) {
    if (victim != Victim::master) site->kill_cache();
    if (victim != Victim::cache) site->kill_master();
  }
  // Sometimes killed again while it recovers.
  void start_again(Victim victim) {
    if (random() % 4 == 0) {
      if (victim != Victim::cache) ASSERT_DONE(site->launch_master());
      if (victim != Victim::master) ASSERT_DONE(site->launch_cache());
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
      kill(victim);
    }
    if (victim != Victim::cache) ASSERT_DONE(site->start_master());
    if (victim != Victim::master) ASSERT_DONE(site->start_cache());
  }

  // Names of the subvolumes below a node's repository.
  static std::set<std::string> subvolumes(const std::filesystem::path& root) {
    const auto listed = harness::run_checked({"btrfs", "subvolume", "list", root.string()});
    EXPECT_TRUE(listed) << listed.error().message();
    std::set<std::string> names;
    std::istringstream lines(listed.value_or(""));
    const std::string below = " path repository/";
    for (std::string line; std::getline(lines, line);)
      if (const auto at = line.find(below); at != std::string::npos)
        names.insert(line.substr(at + below.size()));
    return names;
  }

  void expect_nothing_lost_or_wrong(const std::vector<int>& looked_at) {
    for (const int number : looked_at) {
      EXPECT_EQ(model.check(number, site->master_version(image, number)), "");
      if (site->state(image, number) != "complete") {
        EXPECT_FALSE(complete.contains(number)) << number << " was complete";
        continue;
      }
      complete.insert(number);
      EXPECT_EQ(model.check(number, site->cache_version(image, number)), "");
    }
  }

  // With everything complete, there are the versions and nothing else.
  void expect_nothing_leaked() {
    std::set<std::string> versions;
    for (int number = 1; number <= newest; ++number)
      versions.insert(fmt::format("{}/{}", image, number));
    EXPECT_EQ(subvolumes(site->master_root()), versions);
    EXPECT_EQ(subvolumes(site->cache_root()), versions);
  }

  void settle() {
    for (int number = 1; number <= newest; ++number) {
      ASSERT_DONE(site->wait_until_listed(image, number));
      // Somebody has to look into it, or it need not arrive.
      ASSERT_DONE(
          harness::run_checked({"head", "-c1", (site->view(image, number) / "disk.raw").string()}));
      ASSERT_DONE(site->wait_until_complete(image, number));
    }
  }

  void kill_once(int kill_number) {
    ASSERT_DONE(live->change());
    begin_publish();
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % latest_kill_ms));
    const auto victim = static_cast<Victim>(random() % 3);
    SCOPED_TRACE(fmt::format("kill {} of {}", kill_number, static_cast<int>(victim)));
    kill(victim);
    start_again(victim);
    if (HasFatalFailure()) return;
    end_publish();
    if (HasFatalFailure()) return;
    if (random() % 2 == 0) settle();
    const int old = static_cast<int>(1 + random() % static_cast<unsigned>(newest));
    expect_nothing_lost_or_wrong({old, std::max(1, newest - 1), newest});
  }

  const std::uint64_t seed = harness::test_seed();
  std::mt19937_64 random{seed};
  Model model;
  std::optional<LiveImage> live;
  int newest = 1;
  std::string job;
  std::set<int> complete;
};

// Each takes a site of its own, so that the number of versions stays bounded.
TEST_F(KillTest, NothingIsLostOrWrongOrLeaked) {
  const int kills = is_long_run() ? 1000 : 8;
  for (int done = 0; done < kills && !HasFailure();) {
    if (done > 0) {
      TearDown();
      site.reset();
      newest = 1;
      complete.clear();
      SetUp();
    }
    SCOPED_TRACE(fmt::format("ICBD_TEST_SEED={}", seed));
    CheckedReaders readers(model, site->mountpoint() / image, seed);
    for (int i = 0; i < kills_per_site && done < kills && !HasFailure(); ++i) kill_once(++done);
    if (!HasFailure()) settle();
    std::vector<int> all;
    for (int number = 1; number <= newest; ++number) all.push_back(number);
    expect_nothing_lost_or_wrong(all);
    expect_nothing_leaked();
    readers.stop();
    EXPECT_EQ(readers.wrong(), "");
    EXPECT_GT(readers.right(), 0u);
    fmt::print("{} kills; reads: {} right, {} errors\n", done, readers.right(), readers.errors());
  }
}

}  // namespace
}  // namespace icbd::system_test
