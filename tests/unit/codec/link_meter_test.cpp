#include "icbd/codec/link_meter.h"

#include <gmock/gmock.h>

namespace icbd::codec {
namespace {

using namespace std::chrono_literals;
using testing::DoubleNear;
using testing::Optional;

class LinkMeterTest : public testing::Test {
 protected:
  // `rate` bytes a second for so long, of which the sender waits a share for the link.
  void send(double rate, Clock::Duration duration, double waiting) {
    constexpr Clock::Duration step = 10ms;
    for (Clock::Duration passed{}; passed < duration; passed += step) {
      clock.advance(step);
      meter.sent(static_cast<std::uint64_t>(rate / 100),
                 std::chrono::duration_cast<Clock::Duration>(step * waiting));
    }
  }

  ManualClock clock;
  LinkMeter meter{clock};
};

TEST_F(LinkMeterTest, KnowsNothingOfALinkThatNobodyWaitsFor) {
  send(100e6, 10s, 0);
  EXPECT_EQ(meter.bytes_per_second(), std::nullopt);
}

TEST_F(LinkMeterTest, ALinkThatIsWaitedForIsAsFastAsWhatItCarries) {
  send(12.5e6, 1s, 0.9);
  EXPECT_THAT(meter.bytes_per_second(), Optional(DoubleNear(12.5e6, 0.1e6)));
  send(5e6, 2s, 0.9);
  EXPECT_THAT(meter.bytes_per_second(), Optional(DoubleNear(5e6, 0.1e6)));
}

TEST_F(LinkMeterTest, ASlowSenderIsNotTakenForASlowLink) {
  send(100e6, 1s, 0.9);
  send(1e6, 1s, 0);
  EXPECT_GT(meter.bytes_per_second().value(), 99e6);
}

TEST_F(LinkMeterTest, WhatIsSentWithoutWaitingIsTheLeastThatTheLinkCanDo) {
  send(10e6, 1s, 0.9);
  send(300e6, 200ms, 0);
  EXPECT_GE(meter.bytes_per_second().value(), 300e6);
}

TEST_F(LinkMeterTest, GrowsWhileNobodyWaits) {
  send(100e6, 1s, 0.9);
  send(50e6, 2s, 0);
  EXPECT_GT(meter.bytes_per_second().value(), 500e6);
}

TEST_F(LinkMeterTest, AWrongGrowthIsTriedAgainLaterAndLater) {
  send(100e6, 1s, 0.9);
  int grown = 0;
  for (int round = 0; round < 1200; ++round) {  // four minutes
    send(50e6, 200ms, 0);
    if (meter.bytes_per_second().value() > 110e6) ++grown;
    send(100e6, 200ms, 0.9);
  }
  EXPECT_GT(grown, 4);
  EXPECT_LT(grown, 25);
}

TEST_F(LinkMeterTest, TimeInWhichNothingWasThereToSendDoesNotCount) {
  send(10e6, 1s, 0.9);
  clock.advance(1h);
  meter.idle();
  send(10e6, 1s, 0.9);
  EXPECT_THAT(meter.bytes_per_second(), Optional(DoubleNear(10e6, 0.1e6)));
}

}  // namespace
}  // namespace icbd::codec
