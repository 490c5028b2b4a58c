#include "icbd/base/this_thread.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>

namespace icbd {
namespace {

int nice_value() {
  return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
}

TEST(ThisThreadTest, WorkInBackgroundIsAThreadsOwnAndThatOfThoseItStarts) {
  const int before = nice_value();
  int background = 0;
  int started_there = 0;
  std::thread([&] {
    work_in_background();
    background = nice_value();
    std::thread([&] { started_there = nice_value(); }).join();
  }).join();
  EXPECT_GE(background, 5);
  EXPECT_EQ(started_there, background);
  EXPECT_EQ(nice_value(), before) << "of the others";
}

TEST(ThisThreadTest, WorkFirstIsAThreadsOwnAndEnds) {
  const int before = nice_value();
  const bool may = before == 0 && geteuid() == 0;
  const auto nice_value_of_what_it_starts = [] {
    int value = 0;
    std::thread([&] { value = nice_value(); }).join();
    return value;
  };
  {
    const WorkFirst first;
    if (nice_value() == before && may) GTEST_SKIP() << "root without CAP_SYS_NICE";
    EXPECT_EQ(nice_value(), may ? -10 : before);
    EXPECT_EQ(nice_value_of_what_it_starts(), before);
  }
  EXPECT_EQ(nice_value(), before);
  EXPECT_EQ(nice_value_of_what_it_starts(), before);
}

}  // namespace
}  // namespace icbd
