#include "icbd/base/backoff.h"

#include <gtest/gtest.h>

#include <set>

namespace icbd {
namespace {

using std::chrono_literals::operator""ms;

TEST(BackoffTest, DoublesUpToTheLongestWait) {
  Backoff backoff(100ms, 1000ms, 1);
  for (const auto step : {100ms, 200ms, 400ms, 800ms, 1000ms, 1000ms}) {
    const auto wait = backoff.next();
    EXPECT_GE(wait, step / 2);
    EXPECT_LE(wait, step);
  }
}

TEST(BackoffTest, BeginsAgainAfterASuccess) {
  Backoff backoff(100ms, 1000ms, 1);
  for (int i = 0; i < 10; ++i) backoff.next();
  backoff.reset();
  EXPECT_LE(backoff.next(), 100ms);
}

TEST(BackoffTest, DiffersBetweenNodes) {
  std::set<std::int64_t> waits;
  for (std::uint64_t seed = 0; seed < 50; ++seed)
    waits.insert(Backoff(1000ms, 1000ms, seed).next().count());
  EXPECT_GT(waits.size(), 25u);
}

}  // namespace
}  // namespace icbd
