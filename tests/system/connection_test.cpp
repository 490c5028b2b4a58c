// Whatever the network does to a connection, no reader gets a wrong byte, what was received is not
// fetched again, and the arrival ends by itself.

#include <fmt/format.h>

#include <optional>
#include <thread>

#include "harness/random_tree.h"
#include "system/long_run.h"
#include "system/model.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;
using harness::Direction;
using harness::Fault;
using harness::FaultKind;

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr std::uint64_t disk_size = 8 * mebibyte;
// Fetching all of it again has to be noticed against the bound.
constexpr std::uint64_t large_disk_size = 20 * mebibyte;
const std::string image = "image";

class ConnectionTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    live.emplace(site->live(), seed);
    ASSERT_DONE(site->use_proxy());
    ASSERT_DONE(live->fill("other", 300'000));
    publish_anew();
    ASSERT_DONE(site->start_cache());
    arrive();
  }
  void TearDown() override {
    if (HasFailure()) fmt::print("ICBD_TEST_SEED={}\n", seed);
    SiteTest::TearDown();
  }

  // The next version, of which no block of the disk is at hand.
  void publish_anew(std::uint64_t size = disk_size) {
    ASSERT_DONE(live->fill("disk.raw", size));
    model.add(++newest, live->tree());
    ASSERT_DONE(site->publish(image));
  }

  // So that it can arrive again: a thousand versions would fill the disks.
  void drop_newest() {
    const std::string path = fmt::format("/api/images/{}/versions/{}", image, newest);
    ASSERT_DONE(Site::wait_until([&] { return site->cache_client().remove(path).has_value(); },
                                 "nobody to hold the version"));
  }

  // The newest version arrives under readers, whatever happens to them.
  void arrive() {
    errors = 0;
    ASSERT_DONE(site->wait_until_listed(image, newest));
    CheckedReaders readers(model, site->mountpoint() / image, random());
    ASSERT_DONE(site->wait_until_complete(image, newest));
    readers.stop();
    EXPECT_EQ(readers.wrong(), "");
    errors = readers.errors();
    EXPECT_EQ(model.check(newest, site->view(image, newest)), "");
    EXPECT_EQ(model.check(newest, site->cache_version(image, newest)), "");
    expect_landed_equal(image, newest);
  }
  void publish_and_arrive(std::uint64_t size = disk_size) {
    publish_anew(size);
    if (!HasFatalFailure()) arrive();
  }

  std::uint64_t received() const { return site->proxy().bytes(Direction::to_client); }

  const std::uint64_t seed = harness::test_seed();
  std::mt19937_64 random{seed};
  Model model;
  std::optional<LiveImage> live;
  int newest = 0;
  std::uint64_t errors = 0;  // that readers got during the last arrival
};

TEST_F(ConnectionTest, AtMost8MiBAreSentTwiceForACut) {
  std::uint64_t before = received();
  publish_and_arrive(large_disk_size);
  const std::uint64_t undisturbed = received() - before;
  ASSERT_GT(undisturbed, large_disk_size);
  EXPECT_EQ(errors, 0u) << "without a fault, no read fails; also not past the parent's end";

  const int cuts = is_long_run() ? 1000 : 20;
  constexpr int cuts_per_arrival = 2;
  std::uint64_t worst = 0;
  for (int done = 0; done < cuts && !HasFailure();) {
    drop_newest();
    if (HasFatalFailure()) return;
    before = received();
    // One after the other: each strikes somewhere in what then passes.
    const std::uint64_t struck = site->proxy().struck();
    std::jthread cutter([&, step = undisturbed / cuts_per_arrival](std::stop_token stop) {
      for (int i = 0; i < cuts_per_arrival; ++i) {
        site->proxy().inject({.kind = random() % 2 == 0 ? FaultKind::reset : FaultKind::truncate,
                              .at = random() % step});
        while (site->proxy().struck() == struck + static_cast<std::uint64_t>(i)) {
          if (stop.stop_requested()) return;
          std::this_thread::sleep_for(1ms);
        }
      }
    });
    arrive();
    cutter = {};
    const std::uint64_t cut = site->proxy().struck() - struck;
    const std::uint64_t sent = received() - before;
    if (sent > undisturbed && cut > 0) worst = std::max(worst, (sent - undisturbed) / cut);
    EXPECT_LE(sent, undisturbed + cut * 8 * mebibyte) << cut << " cuts";
    EXPECT_GT(cut, 0u);
    done += static_cast<int>(std::max<std::uint64_t>(cut, 1));
  }
  fmt::print("at most {} KiB sent twice per cut\n", worst / 1024);
}

// What the frames are protected against. Each must end the connection: going on with it would
// mean that it went unnoticed.
class FaultTest : public ConnectionTest, public testing::WithParamInterface<FaultKind> {
 protected:
  void strike(Direction direction, std::uint64_t up_to) {
    const std::uint64_t ended = site->proxy().ended_connections();
    const std::uint64_t struck = site->proxy().struck();
    const Fault fault{.kind = GetParam(),
                      .direction = direction,
                      .at = random() % up_to,
                      .length = 1 + random() % 100'000};
    SCOPED_TRACE(fmt::format("{} {} at {}, length {}", to_string(fault.kind),
                             direction == Direction::to_client ? "to the cache" : "to the master",
                             fault.at, fault.length));
    publish_anew();
    site->proxy().inject(fault);
    arrive();
    if (site->proxy().struck() == struck) return;  // two frames never came close enough
    ASSERT_DONE(Site::wait_until([&] { return site->proxy().ended_connections() > ended; },
                                 "the connection to be given up"));
  }
};

TEST_P(FaultTest, IsNoticedAndTheArrivalEndsRight) {
  const int rounds = is_long_run() ? 50 : 1;
  for (int i = 0; i < rounds && !HasFailure(); ++i) {
    strike(Direction::to_client, disk_size);
    if (!HasFailure()) strike(Direction::to_server, 1'000);
  }
}

std::vector<FaultKind> fault_kinds() {
  std::vector kinds = {FaultKind::flip_bit, FaultKind::repeat_bytes, FaultKind::repeat_frame,
                       FaultKind::swap_frames};
  // Noticed at last by silence, which takes ten seconds.
  if (is_long_run()) kinds.insert(kinds.end(), {FaultKind::lose_bytes, FaultKind::lose_frame});
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Connection, FaultTest, testing::ValuesIn(fault_kinds()),
                         [](const auto& kind) { return to_string(kind.param); });

TEST_F(ConnectionTest, PiecesOfAnySizeArePutTogether) {
  site->proxy().set_slices(3000);
  publish_and_arrive();
  EXPECT_EQ(site->proxy().ended_connections(), 0u) << "slicing is no reason to reconnect";
}

TEST_F(ConnectionTest, ASlowLinkIsNoDeadLink) {
  site->proxy().set_delay(2ms);
  site->proxy().set_rate(20 * mebibyte);
  publish_and_arrive();
  EXPECT_EQ(site->proxy().ended_connections(), 0u);
}

// The master accepts and says nothing: what is complete is served all the while.
TEST_F(ConnectionTest, ASilentMasterIsWaitedForAndTheRestIsServed) {
  publish_anew();
  ASSERT_DONE(site->wait_until_listed(image, newest));
  const auto before = received();
  {
    CheckedReaders readers(model, site->mountpoint() / image, random(), 1);
    ASSERT_DONE(Site::wait_until([&] { return received() > before + mebibyte; }, "a first part"));
    site->proxy().set_black_hole(true);
    EXPECT_EQ(model.check(newest - 1, site->view(image, newest - 1)), "");
    site->proxy().set_black_hole(false);
    readers.stop();
    EXPECT_EQ(readers.wrong(), "");
  }
  arrive();
}

TEST_F(ConnectionTest, EveryConnectionResetAgainAndAgain) {
  site->proxy().set_rate(60 * mebibyte);
  publish_anew();
  std::jthread resetting([&](std::stop_token stop) {
    for (int i = 0; i < 5 && !stop.stop_requested(); ++i) {
      const auto before = received();
      while (received() < before + 2 * mebibyte && !stop.stop_requested())
        std::this_thread::sleep_for(1ms);
      site->proxy().reset_all();
    }
  });
  arrive();
}

}  // namespace
}  // namespace icbd::system_test
