#include "icbd/base/clock.h"

#include <gtest/gtest.h>

namespace icbd {
namespace {

using namespace std::chrono_literals;

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const auto begin = clock.now();
  EXPECT_EQ(clock.now(), begin);
  clock.advance(1500ms);
  EXPECT_EQ(clock.now() - begin, 1500ms);
  EXPECT_EQ(clock.wall(), (Timestamp{1, 500'000'000}));
}

TEST(SystemClock, DoesNotGoBack) {
  const SystemClock clock;
  const auto begin = clock.now();
  EXPECT_GE(clock.now(), begin);
  const Timestamp wall = clock.wall();
  EXPECT_GT(wall.seconds, 1'600'000'000);
  EXPECT_LT(wall.nanoseconds, 1'000'000'000u);
}

TEST(FormatUtc, WritesTheTimeThatPeopleRead) {
  EXPECT_EQ(format_utc({0, 0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_utc({951'827'696, 999'999'999}), "2000-02-29T12:34:56Z");
  EXPECT_EQ(format_utc({-1, 0}), "1969-12-31T23:59:59Z");
}

}  // namespace
}  // namespace icbd
