// Killed at every system call that changes something, and with every one of them failing: publish
// on the master and an arrival with its landing on the cache.
//
// A run without faults is traced first; the points are (system call, how many-th of it in a
// thread). After each point, the program is started again as if nothing had been: what it calls
// complete is right, what it had not finished it finishes, and nothing is left over.

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <sstream>

#include "harness/loop_btrfs.h"
#include "harness/random_tree.h"
#include "harness/run.h"
#include "harness/temporary_directory.h"
#include "system/long_run.h"
#include "system/site.h"
#include "system/tool_site.h"

namespace icbd::system_test {
namespace {

// Everything by which a program changes a filesystem or makes a change durable. strace passes over
// those that this machine does not have ('?').
const std::string write_calls =
    "?open,openat,?openat2,write,pwrite64,?pwritev,?pwritev2,?writev,fsync,fdatasync,syncfs,"
    "sync_file_range,ioctl,?rename,?renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,"
    "?symlink,symlinkat,?link,linkat,?mknod,mknodat,?chmod,fchmod,fchmodat,?chown,?lchown,fchown,"
    "fchownat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,utimensat,"
    "ftruncate,truncate,fallocate,copy_file_range,flock,open_by_handle_at";
// A fresh filesystem after so many points, so that lists stay short.
constexpr int points_per_filesystem = 60;

struct Point {
  std::string call;
  int count = 0;  // of that call, in any one thread
};

struct Injection {
  std::string name;  // of the test
  std::string what;  // as strace wants it
  // What the program may go on to: a killed one not even to an exit code.
  bool kills = false;
};

class EverySyscallTest : public testing::TestWithParam<Injection> {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_DONE(folder);
    folder_.emplace(std::move(*folder));
    begin_anew();
  }
  void TearDown() override {
    if (HasFailure()) fmt::print("ICBD_TEST_SEED={}\n{}", seed, said);
  }

  void begin_anew() {
    site.reset();
    btrfs.reset();
    auto created = harness::LoopBtrfs::create({.size_bytes = std::uint64_t{1} << 30});
    ASSERT_DONE(created);
    btrfs = std::move(*created);
    site.emplace(btrfs->path(), seed);
    ASSERT_DONE(site->create());
    newest = 0;
  }

  void publish() {
    ASSERT_DONE(site->change());
    ASSERT_DONE(ToolSite::must_do(site->publishing()));
    ++newest;
  }
  void arrive() { ASSERT_DONE(ToolSite::must_do(site->arriving(newest))); }

  std::map<int, std::string> listed(const std::filesystem::path& repository) {
    const auto states = ToolSite::list(repository);
    EXPECT_TRUE(states) << states.error().message();
    return states.value_or(std::map<int, std::string>());
  }
  // The cache's version is the master's.
  static std::string difference(const ToolSite& site, int number) {
    return harness::diff_trees(ToolSite::version(site.master(), number),
                               ToolSite::version(site.cache(), number));
  }

  // The points of a run: of each call, as many as the thread that makes most of them.
  std::vector<Point> points_of(const std::vector<std::string>& words) {
    const auto log = folder_->path() / "trace";
    const auto result = ToolSite::tool(words, {"strace", "-f", "-qqq", "-o", log.string(), "-e",
                                               "signal=none", "-e", "trace=" + write_calls});
    EXPECT_TRUE(result && result->exit_code == 0) << (result ? result->output : "");
    std::map<std::pair<std::string, std::string>, int> counts;
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream parts(line);
      std::string thread, call;
      if (!(parts >> thread >> call) || call.starts_with("<...") || !call.contains('(')) continue;
      ++counts[{call.substr(0, call.find('(')), thread}];
    }
    std::map<std::string, int> most;
    for (const auto& [key, count] : counts) most[key.first] = std::max(most[key.first], count);
    std::vector<Point> points;
    for (const auto& [call, count] : most)
      for (int i = 1; i <= count; ++i) points.push_back({call, i});
    return points;
  }

  // A sample in the short tier. The last sync is always in it: there, everything is done but for
  // being called complete.
  std::vector<Point> chosen(std::vector<Point> points) {
    fmt::print("{} points\n", points.size());
    if (is_long_run()) return points;
    std::ranges::shuffle(points, random);
    const auto is_sync = [](const Point& point) { return point.call == "syncfs"; };
    std::ranges::stable_partition(points, is_sync);
    std::ranges::sort(points.begin(), std::ranges::find_if_not(points, is_sync),
                      std::ranges::greater(), &Point::count);
    const auto others = std::ranges::find_if_not(points, is_sync);
    if (others - points.begin() > 1) points.erase(points.begin() + 1, others);
    points.resize(std::min<std::size_t>(points.size(), 4));
    return points;
  }

  // Runs it with the fault. One that was killed says nothing; one that failed says why.
  harness::RunResult run_with_fault(const std::vector<std::string>& words, const Point& point) {
    auto result = ToolSite::tool(
        words, {"strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=" + point.call, "-e",
                fmt::format("inject={}:{}:when={}", point.call, GetParam().what, point.count)});
    EXPECT_TRUE(result);
    said = result->output;
    if (!GetParam().kills && result->exit_code != 0) {
      EXPECT_EQ(result->exit_code, 1) << said;
      EXPECT_NE(said, "");
    }
    return *result;
  }

  void publish_with_fault_at(const Point& point) {
    SCOPED_TRACE(fmt::format("publish of {}: {} {}", newest + 1, point.call, point.count));
    ASSERT_DONE(site->change());
    const auto result = run_with_fault(site->publishing(), point);
    auto states = listed(site->master());
    EXPECT_TRUE(result.exit_code != 0 || states.contains(newest + 1)) << said;
    if (!states.contains(newest + 1)) ASSERT_DONE(ToolSite::must_do(site->publishing()));
    ++newest;
    states = listed(site->master());
    EXPECT_EQ(states.size(), static_cast<std::size_t>(newest));
    EXPECT_EQ(states[newest], "complete");
    EXPECT_EQ(harness::diff_trees(site->live(), ToolSite::version(site->master(), newest)), "");
    EXPECT_EQ(ToolSite::leftovers(site->master()), "");
  }

  void arrive_with_fault_at(const Point& point) {
    SCOPED_TRACE(fmt::format("arrival of {}: {} {}", newest + 1, point.call, point.count));
    publish();
    const auto result = run_with_fault(site->arriving(newest), point);
    auto states = listed(site->cache());
    EXPECT_TRUE(result.exit_code != 0 || states[newest] == "complete") << said;
    for (const int number : {newest - 1, newest})
      EXPECT_EQ(states[number] == "complete" ? difference(*site, number) : "", "") << said;
    EXPECT_EQ(ToolSite::leftovers(site->cache()), "");
    arrive();
    EXPECT_EQ(listed(site->cache())[newest], "complete");
    EXPECT_EQ(difference(*site, newest), "") << said;
    EXPECT_EQ(ToolSite::leftovers(site->cache()), "");
    // The master's side of it had the fault as well, and may have lost nothing by it.
    EXPECT_EQ(listed(site->master()).size(), static_cast<std::size_t>(newest));
  }

  const std::uint64_t seed = harness::test_seed();
  std::mt19937_64 random{seed};
  std::optional<harness::TemporaryDirectory> folder_;
  std::unique_ptr<harness::LoopBtrfs> btrfs;
  std::optional<ToolSite> site;
  int newest = 0;
  std::string said;  // by the run with the fault
};

TEST_P(EverySyscallTest, OfPublish) {
  publish();
  ASSERT_DONE(site->change());
  const auto points = points_of(site->publishing());
  ++newest;
  int done = 0;
  for (const Point& point : chosen(points)) {
    if (done++ % points_per_filesystem == points_per_filesystem - 1) {
      begin_anew();
      publish();
    }
    publish_with_fault_at(point);
    if (HasFailure()) return;
  }
}

TEST_P(EverySyscallTest, OfAnArrival) {
  publish();
  arrive();
  publish();
  const auto points = points_of(site->arriving(newest));
  int done = 0;
  for (const Point& point : chosen(points)) {
    if (done++ % points_per_filesystem == points_per_filesystem - 1) {
      begin_anew();
      publish();
      arrive();
    }
    arrive_with_fault_at(point);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Injected, EverySyscallTest,
                         testing::Values(Injection{"kill", "signal=SIGKILL", true},
                                         Injection{"io_error", "error=EIO"},
                                         Injection{"no_space", "error=ENOSPC"}),
                         [](const auto& injection) { return injection.param.name; });

}  // namespace
}  // namespace icbd::system_test
