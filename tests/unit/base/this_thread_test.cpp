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

}  // namespace
}  // namespace icbd
