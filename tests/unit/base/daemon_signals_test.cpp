#include "icbd/base/daemon_signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace icbd {
namespace {

using namespace std::chrono_literals;

// Signals that are sent to the process while all its threads block them wait until they are taken.
TEST(DaemonSignals, MeanStopOrReload) {
  DaemonSignals signals;
  for (const auto& [number, meaning] : {std::pair(SIGTERM, DaemonSignal::stop),
                                        {SIGINT, DaemonSignal::stop},
                                        {SIGHUP, DaemonSignal::reload}}) {
    ASSERT_EQ(::kill(::getpid(), number), 0);
    EXPECT_EQ(signals.wait(), meaning) << number;
    ASSERT_EQ(::kill(::getpid(), number), 0);
    EXPECT_EQ(signals.wait_for(10s), meaning) << number;
  }
}

TEST(DaemonSignals, NoneComesInTime) {
  DaemonSignals signals;
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(signals.wait_for(20ms), DaemonSignal::none);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 20ms);
}

}  // namespace
}  // namespace icbd
