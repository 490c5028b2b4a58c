#include "icbd/base/rate_limit.h"

#include <gtest/gtest.h>

namespace icbd {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t mib = 1024 * 1024;

TEST(RateLimit, NoLimitNeverWaits) {
  ManualClock clock;
  RateLimit limit(clock, 0);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(limit.take(1000 * mib), 0s);
}

TEST(RateLimit, WaitsUntilWhatWasMovedIsPaidFor) {
  ManualClock clock;
  RateLimit limit(clock, 10 * mib);
  EXPECT_EQ(limit.take(10 * mib), 1s - 250ms) << "a quarter of a second is saved up";
  clock.advance(750ms);
  EXPECT_EQ(limit.take(10 * mib), 1s);
  EXPECT_EQ(limit.take(10 * mib), 2s) << "several may take at the same time";
}

TEST(RateLimit, AnIdleHourIsNotSavedUp) {
  ManualClock clock;
  RateLimit limit(clock, 10 * mib);
  clock.advance(1h);
  EXPECT_EQ(limit.take(10 * mib), 750ms);
}

TEST(RateLimit, ANewLimitForgetsOldDebts) {
  ManualClock clock;
  RateLimit limit(clock, 1);
  EXPECT_GT(limit.take(mib), 1h);
  limit.set(mib);
  EXPECT_EQ(limit.take(mib), 1s - 250ms);
}

}  // namespace
}  // namespace icbd
