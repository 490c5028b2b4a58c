// Snapshots of a machine that runs no icbd become versions here, or nothing at all.
#include "icbd/pull/puller.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "icbd/repository/verify.h"

#include "harness/fault_proxy.h"
#include "harness/random_tree.h"
#include "harness/tree.h"
#include "pull_fixture.h"
#include "system/long_run.h"

namespace icbd::pull {
namespace {

using namespace std::chrono_literals;
using catalog::VersionState;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;

class PullerTest : public PullTest {
 protected:
  void SetUp() override {
    PullTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    there("mkdir disk; btrfs -q subvolume create ../live; ln -s ../live live");
    open();
  }
  void TearDown() override {
    puller_.reset();
    repository_.reset();
    PullTest::TearDown();
  }

  void open() {
    puller_.reset();
    repository_.reset();
    auto opened = repository::Repository::open(here_path(), make_silent_logger());
    ASSERT_TRUE(opened) << opened.error().message();
    repository_ = std::move(*opened);
  }
  PullerOptions options() const { return {.machine = machine(), .poll_interval = 2s}; }
  void start(PullerOptions options) {
    puller_ = std::make_unique<Puller>(*repository_, clock_, std::move(options),
                                       make_silent_logger(), [] {});
    puller_->start();
  }
  void start() { start(options()); }
  void subscribe(std::uint32_t latest, const std::string& image = "disk") {
    ASSERT_TRUE(repository_->catalog().set_subscription({.image = image, .latest = latest}));
    if (puller_) puller_->look_now();
  }
  // What there is now of the live subvolume.
  void snapshot(const std::string& name, const std::string& change = "",
                const std::string& image = "disk") {
    there(change + "\nbtrfs -q subvolume snapshot -r live " + image + "/" + name);
    if (puller_) puller_->look_now();
  }

  void wait_for(const std::function<bool()>& condition, const std::string& what) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << what << "; " << said();
      std::this_thread::sleep_for(5ms);
    }
  }
  std::string said() const {
    const PullerStatus status = puller_->status();
    std::string text = status.error;
    for (const FailedPull& failed : status.failed)
      text += fmt::format("; {}: {}", failed.snapshot, failed.error);
    return text;
  }
  std::vector<catalog::Version> versions(const std::string& image = "disk") const {
    return repository_->catalog().versions(image).value();
  }
  void wait_for_versions(std::size_t count, const std::string& image = "disk") {
    wait_for([&] { return versions(image).size() == count && puller_->status().pulls.empty(); },
             fmt::format("{} versions of {}", count, image));
  }
  std::string failure() {
    std::string found;
    wait_for(
        [&] {
          const auto status = puller_->status();
          if (!status.failed.empty()) found = status.failed.front().error;
          return !found.empty();
        },
        "a failure");
    return found;
  }
  void expect_equal(std::uint32_t number, const std::string& snapshot,
                    const std::string& image = "disk") {
    EXPECT_EQ(harness::diff_trees(there_path() / image / snapshot,
                                  repository_->version_path(image, VersionNumber(number))),
              "");
  }
  // Besides versions; hidden names included.
  std::vector<std::string> leftovers(const std::string& image = "disk") const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(here_path() / image))
      if (std::string name = entry.path().filename(); name.starts_with('.'))
        found.push_back(std::move(name));
    return found;
  }

  SystemClock clock_;
  std::unique_ptr<repository::Repository> repository_;
  std::unique_ptr<Puller> puller_;
};

TEST_F(PullerTest, WhatIsSubscribedComesAndIsWhatItWas) {
  snapshot("monday", "echo one >live/file; head -c 3000000 /dev/urandom >live/data");
  subscribe(1);
  start();
  wait_for_versions(1);
  expect_equal(1, "monday");
  const auto facts = versions().at(0).facts;
  EXPECT_EQ(versions().at(0).state, VersionState::complete);
  EXPECT_THAT(facts.message, AllOf(HasSubstr("monday from root@127.0.0.1:"), HasSubstr("there")));
  EXPECT_NEAR(static_cast<double>(facts.published.seconds),
              static_cast<double>(clock_.wall().seconds), 60);
  // From now on there is a manifest, which every byte can be held against.
  repository::VerifyProgress progress;
  const auto report = repository::verify_version(*repository_, versions().at(0), progress);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(PullerTest, AllImagesAreKnownAndNothingComesThatNobodyWants) {
  snapshot("monday", "mkdir tools");
  start();
  wait_for([&] { return puller_->status().reachable; }, "the first look");
  EXPECT_THAT(repository_->catalog().images().value(), ElementsAre("disk", "tools"));
  EXPECT_THAT(versions(), IsEmpty());
}

TEST_F(PullerTest, TheNextOneComesAgainstTheOneThatIsHere) {
  snapshot("1", "head -c 4000000 /dev/urandom >live/data");
  subscribe(1);
  start();
  wait_for_versions(1);
  const std::uint64_t first = puller_->status().bytes_received;
  snapshot("2",
           "mv live/data live/moved; dd if=/dev/urandom of=live/moved bs=4096 count=3 "
           "seek=100 conv=notrunc status=none");
  wait_for_versions(2);
  expect_equal(2, "2");
  EXPECT_GT(first, 4'000'000u);
  EXPECT_LT(puller_->status().bytes_received - first, 100'000u);
  EXPECT_EQ(versions().back().facts.parent, VersionNumber(1));
}

TEST_F(PullerTest, ALineOfRandomChangesArrivesAsItWas) {
  if (!system_test::is_long_run()) GTEST_SKIP() << "takes a minute";
  harness::RandomTree tree(there_path() / "live", harness::test_seed());
  SCOPED_TRACE(fmt::format("ICBD_TEST_SEED={}", tree.seed()));
  subscribe(1);
  start();
  for (unsigned number = 1; number <= 20; ++number) {
    ASSERT_TRUE(tree.change(100));
    snapshot(std::to_string(number));
    wait_for_versions(number);
    expect_equal(number, std::to_string(number));
  }
}

TEST_F(PullerTest, ASubscriptionTakesTheNewestOnesInTheirOrder) {
  for (const char* const name : {"d", "c", "b", "a"}) snapshot(name, "date >>live/file");
  subscribe(2);
  start();
  wait_for_versions(2);
  expect_equal(1, "b");
  expect_equal(2, "a");
}

TEST_F(PullerTest, AnImageThatAppearsLaterComesToo) {
  subscribe(1, "later");
  start();
  wait_for([&] { return puller_->status().reachable; }, "the first look");
  EXPECT_FALSE(puller_->image("later"));
  snapshot("first", "mkdir later; echo x >live/file", "later");
  wait_for_versions(1, "later");
  expect_equal(1, "first", "later");
}

TEST_F(PullerTest, ASnapshotThatIsRenamedThereIsTheSame) {
  if (!system_test::is_long_run()) GTEST_SKIP() << "others do it in less time";
  snapshot("monday");
  subscribe(3);
  start();
  wait_for_versions(1);
  there("mv disk/monday disk/tuesday");
  snapshot("wednesday", "echo more >live/file");
  wait_for_versions(2);
  expect_equal(2, "wednesday");
  EXPECT_THAT(puller_->image("disk")->gone, IsEmpty());
}

TEST_F(PullerTest, WhatIsDeletedThereStaysHereAndIsSaid) {
  snapshot("monday");
  subscribe(1);
  start();
  wait_for_versions(1);
  snapshot("tuesday", "btrfs -q subvolume delete disk/monday; echo more >live/file");
  wait_for_versions(2);  // all of it: there is no parent any more
  expect_equal(2, "tuesday");
  EXPECT_THAT(puller_->image("disk")->gone, ElementsAre(VersionNumber(1)));
  EXPECT_TRUE(repository_->open_version("disk", VersionNumber(1)));
}

TEST_F(PullerTest, AMachineThatComesBackIsFollowedFromWhereItWas) {
  if (!system_test::is_long_run()) GTEST_SKIP() << "others do it in less time";
  snapshot("monday");
  subscribe(1);
  start();
  wait_for_versions(1);
  server_->stop();
  puller_->look_now();
  wait_for([&] { return !puller_->status().reachable; }, "that it is away");
  EXPECT_THAT(puller_->status().error, HasSubstr("ssh to 127.0.0.1"));
  EXPECT_TRUE(puller_->status().last_contact);
  snapshot("tuesday", "echo more >live/file");
  ASSERT_TRUE(server_->start());
  wait_for_versions(2);
  expect_equal(2, "tuesday");
}

// A link that lets so much through, and the transfer that is under way then.
class SlowPullerTest : public PullerTest {
 protected:
  void start_slowly(std::uint64_t bytes_per_second) {
    auto proxy = harness::FaultProxy::start(fmt::format("127.0.0.1:{}", server_->port()));
    ASSERT_TRUE(proxy) << proxy.error().message();
    proxy_ = std::move(*proxy);
    proxy_->set_rate(bytes_per_second);
    PullerOptions slow = options();
    const std::string& address = proxy_->address();
    slow.machine.port =
        static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
    start(std::move(slow));
  }
  void wait_for_bytes(std::uint64_t bytes) {
    wait_for([&] { return puller_->status().bytes_received >= bytes; }, "some bytes");
  }

  std::unique_ptr<harness::FaultProxy> proxy_;
};

TEST_F(SlowPullerTest, AServerThatIsKilledMidwayLeavesNothingAndItBeginsAgain) {
  snapshot("monday", "head -c 12000000 /dev/urandom >live/data");
  subscribe(1);
  start_slowly(8 * mebibyte);
  wait_for_bytes(2 * mebibyte);
  EXPECT_THAT(versions(), IsEmpty());
  EXPECT_THAT(leftovers(), ElementsAre(".publishing-1.receiving"));
  server_->stop();
  EXPECT_THAT(failure(), HasSubstr("ssh to 127.0.0.1"));
  EXPECT_THAT(versions(), IsEmpty());
  wait_for([&] { return !std::filesystem::exists(here_path() / "disk") || leftovers().empty(); },
           "that nothing is left");
  proxy_->set_rate(0);
  ASSERT_TRUE(server_->start());
  wait_for_versions(1);
  expect_equal(1, "monday");
  EXPECT_THAT(puller_->status().failed, IsEmpty());
}

TEST_F(SlowPullerTest, ALinkThatFallsSilentIsNoticedWithinTenSeconds) {
  if (!system_test::is_long_run()) GTEST_SKIP() << "takes ten seconds";
  snapshot("monday", "head -c 30000000 /dev/urandom >live/data");
  subscribe(1);
  start_slowly(10 * mebibyte);
  wait_for_bytes(2 * mebibyte);
  const auto begin = clock_.now();
  proxy_->set_black_hole(true);
  EXPECT_THAT(failure(), HasSubstr("not responding"));
  EXPECT_LT(clock_.now() - begin, 12s);  // 9 s of ssh, and what the machine under test takes
}

TEST_F(SlowPullerTest, ARestartInTheMiddleBeginsAgainAndLeavesNothing) {
  snapshot("monday", "head -c 12000000 /dev/urandom >live/data");
  subscribe(1);
  start_slowly(8 * mebibyte);
  wait_for_bytes(2 * mebibyte);
  puller_.reset();  // within a moment, however slow the link is
  EXPECT_THAT(versions(), IsEmpty());
  open();
  start();
  wait_for_versions(1);
  expect_equal(1, "monday");
  EXPECT_THAT(leftovers(), IsEmpty());
}

// The kernel deletes nothing that it sends; between the look and the sending, somebody may.
TEST_F(SlowPullerTest, ASnapshotCannotBeDeletedWhileItIsSent) {
  snapshot("monday", "head -c 10000000 /dev/urandom >live/data");
  subscribe(1);
  start_slowly(10 * mebibyte);
  wait_for_bytes(2 * mebibyte);
  const auto deleted =
      harness::run({"btrfs", "-q", "subvolume", "delete", there_path() / "disk" / "monday"});
  ASSERT_TRUE(deleted);
  EXPECT_NE(deleted->exit_code, 0) << deleted->output;
  wait_for_versions(1);
  expect_equal(1, "monday");
}

TEST_F(PullerTest, ASnapshotThatIsGoneWhenItsTurnComesIsLeftOut) {
  snapshot("monday");
  subscribe(1);
  PullerOptions seldom = options();
  seldom.poll_interval = 1h;
  // A btrfs that deletes what it is to send.
  const auto program = path() / "btrfs";
  std::ofstream(program) << fmt::format(
      "#!/bin/sh\n[ \"$1\" != send ] || btrfs -q subvolume delete {} >&2\nexec btrfs \"$@\"\n",
      "\"$(dirname \"$0\")\"/it*/disk/monday");
  std::filesystem::permissions(program, std::filesystem::perms(0755));
  seldom.machine.remote_command = program;
  start(seldom);
  wait_for([&] { return puller_->image("disk") && puller_->image("disk")->snapshots == 0; },
           "that it is known to be gone");
  EXPECT_THAT(versions(), IsEmpty());
  EXPECT_THAT(puller_->status().failed, IsEmpty());
}

TEST_F(PullerTest, WhatKeepsADroppedVersionFromComingAgainIsSaid) {
  snapshot("monday", "mknod live/device c 1 3");
  subscribe(1);
  start();
  wait_for_versions(1);
  const catalog::Version dropped = versions().at(0);
  EXPECT_EQ(puller_->obstacle(dropped), "");
  puller_.reset();
  ASSERT_TRUE(repository_->drop_version(dropped));
  ASSERT_TRUE(repository_->catalog().set_pulled(dropped.serial, true));
  PullerOptions strict = options();
  strict.policy.allow_device_nodes = false;
  start(strict);
  const std::string refusal = failure();
  EXPECT_THAT(refusal, HasSubstr("device"));
  EXPECT_EQ(puller_->obstacle(dropped), refusal);
  there("btrfs -q subvolume delete disk/monday");
  puller_->look_now();
  wait_for([&] { return puller_->obstacle(dropped) != refusal; }, "that it is known to be gone");
  EXPECT_THAT(puller_->obstacle(dropped), HasSubstr("does not have that snapshot any more"));
  server_->stop();
  puller_->look_now();
  wait_for([&] { return !puller_->status().reachable; }, "that it is away");
  EXPECT_THAT(puller_->obstacle(dropped), HasSubstr("ssh to 127.0.0.1"));
}

TEST_F(PullerTest, WhatAPolicyForbidsIsRefusedAsAWholeAndSaid) {
  snapshot("monday", "mknod live/device c 1 3");
  subscribe(1);
  PullerOptions strict = options();
  strict.policy.allow_device_nodes = false;
  start(strict);
  EXPECT_THAT(failure(), HasSubstr("device"));
  EXPECT_TRUE(puller_->status().failed.front().refused);
  EXPECT_THAT(versions(), IsEmpty());
  // The next one has none, and does not wait for the one before.
  snapshot("tuesday", "rm live/device; echo x >live/file");
  wait_for_versions(1);
  expect_equal(1, "tuesday");
}

TEST_F(PullerTest, AVersionThatWasDroppedComesBackAsWhatItWas) {
  snapshot("1", "head -c 1000000 /dev/urandom >live/data");
  subscribe(1);
  start();
  wait_for_versions(1);
  snapshot("2", "echo x >live/file");
  wait_for_versions(2);
  const catalog::Version dropped = versions().at(0);
  ASSERT_TRUE(repository_->drop_version(dropped));
  ASSERT_TRUE(repository_->catalog().set_pulled(dropped.serial, true));
  puller_->look_now();
  wait_for([&] { return versions().front().state == VersionState::complete; }, "version 1");
  expect_equal(1, "1");
  EXPECT_EQ(versions().front().facts, dropped.facts);
  EXPECT_THAT(versions(), SizeIs(2));
}

TEST_F(PullerTest, HowFarItIsBehindIsSaid) {
  snapshot("1", "echo 1 >live/file");
  subscribe(1);
  start();
  wait_for_versions(1);
  ASSERT_TRUE(repository_->catalog().remove_subscription("disk"));
  ASSERT_TRUE(repository_->catalog().set_subscription({.image = "disk", .tag = "stable"}));
  snapshot("2", "echo 2 >live/file");
  snapshot("3", "echo 3 >live/file");
  wait_for([&] { return puller_->image("disk") && puller_->image("disk")->behind == 2; },
           "two snapshots more");
  const ImageStatus status = *puller_->image("disk");
  EXPECT_EQ(status.newest, "3");
  EXPECT_EQ(status.snapshots, 3u);
  EXPECT_EQ(status.wanted, 0u);
  ASSERT_TRUE(status.behind_since);
  EXPECT_LE(*status.behind_since, status.newest_created);
}

TEST_F(PullerTest, TheBandwidthCanBeLimited) {
  if (!system_test::is_long_run()) GTEST_SKIP() << "takes its time";
  snapshot("monday", "head -c 3000000 /dev/urandom >live/data");
  subscribe(1);
  PullerOptions limited = options();
  limited.bandwidth_limit = 2 * mebibyte;
  const auto begin = clock_.now();
  start(limited);
  wait_for_versions(1);
  EXPECT_GT(clock_.now() - begin, 1s);
}

}  // namespace
}  // namespace icbd::pull
