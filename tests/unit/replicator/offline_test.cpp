// While the source is away.

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

class OfflineTest : public ArrivalTest {
 protected:
  void wait_until_offline(bool offline) {
    wait_until([&] { return replicator_->source_status().offline == offline; },
               "the source's state is not noticed");
  }
};

TEST_F(OfflineTest, ReadsOfWhatIsMissingFailAtOnceOnceTheSourceCountsAsAway) {
  publish("head -c 2M /dev/urandom > disk");
  start({.fetch_timeout = 1h, .offline_after = 50ms, .fill = FillPolicy::demand_only});
  const auto version = open(1);
  ASSERT_DONE(version);
  ASSERT_DONE(read(**version, "disk", {0, 4096}).get());
  source_->set_away(true);
  wait_until_offline(true);
  const auto missing = read(**version, "disk", {1'000'000, 4096}).get();
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(to_errno(missing.error()), EIO);
  ASSERT_DONE(read(**version, "disk", {0, 4096}).get());  // what is here is served

  source_->set_away(false);
  wait_until_offline(false);
  ASSERT_DONE(read(**version, "disk", {1'000'000, 4096}).get());
}

TEST_F(OfflineTest, WhoWaitsAlreadyIsAnsweredWhenTheSourceCountsAsAway) {
  publish("head -c 2M /dev/urandom > disk");
  start({.fetch_timeout = 1h, .offline_after = 300ms});
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  const auto bytes = read(**version, "disk", {0, 4096}).get();
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code(), ErrorCode::unavailable);
}

TEST_F(OfflineTest, ChunksOfTheParentAreFoundWithoutTheSource) {
  publish("head -c 2M /dev/urandom > disk");
  start({.offline_after = 0ms});
  ASSERT_TRUE(let_arrive(1));
  publish("printf change | dd of=disk bs=1 seek=1500000 conv=notrunc status=none");
  wait_until_known(2);
  const auto version = open(2);
  ASSERT_DONE(version);
  // One read of this stretch fetches what is needed of the manifest.
  ASSERT_DONE(read(**version, "disk", {0, 4096}).get());
  source_->set_away(true);
  wait_until_offline(true);
  ASSERT_DONE(read(**version, "disk", {500'000, 4096}).get());
  EXPECT_FALSE(read(**version, "disk", {1'500'000, 4096}).get().has_value());
}

TEST_F(OfflineTest, AnArrivalGoesOnByItselfWhenTheSourceIsBack) {
  publish("head -c 8M /dev/urandom > disk");
  start({.offline_after = 0ms});
  const auto version = open(1);
  ASSERT_DONE(version);
  source_->set_away(true);
  replicator_->want((*version)->version.serial);
  wait_until_offline(true);
  wait_until([&] { return (*version)->arrival->progress().phase == ArrivalPhase::retrying; },
             "the arrival does not say that it waits");
  source_->set_away(false);
  wait_until_complete(1);
  expect_landed_equal(1);
}

TEST_F(OfflineTest, ACacheStartsWithoutItsSourceAndShowsWhatItKnows) {
  publish("head -c 100K /dev/urandom > disk");
  start();
  ASSERT_TRUE(let_arrive(1));
  replicator_.reset();
  source_->set_away(true);
  start();
  EXPECT_TRUE(is_complete(1));
  EXPECT_TRUE(replicator_->opened(serial(1)));
}

}  // namespace
}  // namespace icbd::replicator
