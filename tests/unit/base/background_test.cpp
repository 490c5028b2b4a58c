#include "icbd/base/background.h"

#include <gtest/gtest.h>

namespace icbd {
namespace {

TEST(BackgroundTest, GoesOnBesideWhoeverBeganIt) {
  std::promise<void> go_on;
  auto work = in_background([&]() -> Status {
    go_on.get_future().wait();  // set only after this call has returned
    return {};
  });
  go_on.set_value();
  EXPECT_TRUE(work.get());
}

TEST(BackgroundTest, GivesBackWhatWentWrong) {
  const Status done = in_background([] { return fail(ErrorCode::io, "no disk"); }).get();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message(), "no disk");
}

TEST(BackgroundTest, IsWaitedForByWhoeverDropsIt) {
  bool ended = false;
  {
    const auto work = in_background([&]() -> Status {
      ended = true;
      return {};
    });
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace icbd
