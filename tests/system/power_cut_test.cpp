// The power goes at any moment of publications and arrivals, and takes with it any part of what was
// written since the disk's last flush.
//
// Both repositories lie on one disk that logs every write. For many moments, what the disk then
// held is mounted and both repositories are opened, as after a reboot: what had been reported as
// done is there, what is called complete is right to the last byte, and work goes on.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <random>

#include "harness/logged_disk.h"
#include "harness/loop_btrfs.h"
#include "harness/random_tree.h"
#include "harness/temporary_directory.h"
#include "harness/tree.h"
#include "system/long_run.h"
#include "system/site.h"
#include "system/tool_site.h"

namespace icbd::system_test {
namespace {

constexpr std::uint64_t disk_size = std::uint64_t{512} << 20;

class PowerCutTest : public testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto made = harness::TemporaryDirectory::create();
    ASSERT_DONE(made);
    folder.emplace(std::move(*made));
  }
  void TearDown() override {
    if (HasFailure()) fmt::print("ICBD_TEST_SEED={}\n", seed);
  }

  // Publishes and lets arrive so many versions, on a disk that ends unmounted.
  void work(int versions) {
    auto made = harness::LoggedDisk::create(disk_size);
    ASSERT_DONE(made);
    disk = std::move(*made);
    ASSERT_DONE(harness::run_checked({"mkfs.btrfs", "--quiet", disk->file().string()}));
    auto btrfs = harness::LoopBtrfs::open(disk->file());
    ASSERT_DONE(btrfs);
    ToolSite site((*btrfs)->path(), seed);
    ASSERT_DONE(site.create());
    ASSERT_DONE(ToolSite::list(site.master()));
    ASSERT_DONE(ToolSite::list(site.cache()));
    ASSERT_DONE(harness::run_checked({"sync", "-f", site.live().string()}));
    begin = disk->moment();
    for (int number = 1; number <= versions; ++number) {
      ASSERT_DONE(site.change());
      auto tree = harness::describe_tree(site.live());
      ASSERT_DONE(tree);
      content[number] = std::move(*tree);
      ASSERT_DONE(ToolSite::must_do(site.publishing()));
      published[number] = disk->moment();
      ASSERT_DONE(ToolSite::must_do(site.arriving(number)));
      landed[number] = disk->moment();
    }
    const Status closed = (*btrfs)->close();
    ASSERT_DONE(closed);
    fmt::print("{} writes and flushes\n", disk->moment() - begin);
  }

  // What is called complete is right, and what had been reported before `moment` is there.
  void expect_right(const std::filesystem::path& repository,
                    const std::map<int, std::size_t>& reported, std::size_t moment) {
    const auto states = ToolSite::list(repository);
    ASSERT_DONE(states);
    for (const auto& [number, when] : reported) {
      const bool there = states->contains(number) && states->at(number) == "complete";
      EXPECT_TRUE(there || when > moment) << number << " is lost";
    }
    for (const auto& [number, state] : *states) {
      if (state != "complete") continue;
      ASSERT_TRUE(content.contains(number)) << number;
      const auto tree = harness::describe_tree(ToolSite::version(repository, number));
      ASSERT_DONE(tree);
      EXPECT_EQ(harness::diff_trees(content.at(number), *tree), "") << number;
    }
    EXPECT_EQ(ToolSite::leftovers(repository), "");
  }

  void expect_recovery_at(harness::PowerCut& cut, std::size_t moment,
                          std::optional<std::uint64_t> lost) {
    SCOPED_TRACE(lost ? fmt::format("moment {}, lost by {}", moment, *lost)
                      : fmt::format("moment {}", moment));
    const auto disk_image = cut.image_at(moment, lost);
    ASSERT_DONE(disk_image);
    const auto btrfs = harness::LoopBtrfs::open(*disk_image);
    ASSERT_DONE(btrfs);
    const ToolSite site((*btrfs)->path(), seed);
    expect_right(site.master(), published, moment);
    if (HasFailure()) return;
    expect_right(site.cache(), landed, moment);
    const auto states = ToolSite::list(site.master());
    ASSERT_DONE(states);
    if (states->empty()) return;
    // The next version can be published, and what the master has arrives.
    const int newest = states->rbegin()->first;
    ASSERT_DONE(ToolSite::must_do(site.arriving(newest)));
    expect_right(site.cache(), landed, moment);
    ASSERT_DONE(ToolSite::must_do(site.publishing()));
    EXPECT_EQ(harness::diff_trees(site.live(), ToolSite::version(site.master(), newest + 1)), "");
  }

  const std::uint64_t seed = harness::test_seed();
  std::mt19937_64 random{seed};
  std::optional<harness::TemporaryDirectory> folder;
  std::unique_ptr<harness::LoggedDisk> disk;
  std::size_t begin = 0;  // both repositories are empty and durable
  std::map<int, harness::Tree> content;
  std::map<int, std::size_t> published, landed;  // when it was reported
};

TEST_F(PowerCutTest, NothingReportedIsLostAndNothingCompleteIsWrong) {
  work(is_long_run() ? 12 : 3);
  if (HasFatalFailure()) return;
  const int states = is_long_run() ? 2400 : 12;
  std::vector<std::size_t> moments;
  for (int i = 0; i < states; ++i)
    moments.push_back(begin + random() % (disk->moment() - begin + 1));
  std::ranges::sort(moments);
  harness::PowerCut cut(*disk, folder->path());
  int checked = 0;
  for (const std::size_t moment : moments) {
    // Every third cut loses nothing that was written.
    const bool whole = random() % 3 == 0;
    expect_recovery_at(cut, moment, whole ? std::nullopt : std::optional(random()));
    if (HasFailure()) return;
    if (++checked % 100 == 0) std::printf("%d states\n", checked), std::fflush(stdout);
  }
}

}  // namespace
}  // namespace icbd::system_test
