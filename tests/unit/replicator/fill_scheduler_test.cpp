#include "icbd/replicator/fill_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Fills that begin, wait to be told how they end, and are remembered.
class FillSchedulerTest : public testing::Test {
 protected:
  ~FillSchedulerTest() override { scheduler_.stop(); }

  Status fill(VersionSerial serial, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    begun_.push_back(serial.value());
    changed_.notify_all();
    changed_.wait(lock, stop, [&] { return !outcomes_[serial.value()].empty(); });
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    const auto outcome = outcomes_[serial.value()].front();
    outcomes_[serial.value()].erase(outcomes_[serial.value()].begin());
    if (outcome) return fail(*outcome, "told to fail");
    return {};
  }
  void end(std::uint32_t serial, std::optional<ErrorCode> outcome = {}) {
    {
      const std::lock_guard lock(mutex_);
      outcomes_[serial].push_back(outcome);
    }
    changed_.notify_all();
  }
  // Waits until so many fills have begun.
  std::vector<std::uint32_t> begun(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 10s, [&] { return begun_.size() >= count; }));
    return begun_;
  }
  void add(std::uint32_t serial, const std::string& image, FillReason reason = FillReason::reader) {
    scheduler_.add(VersionSerial(serial), image, reason);
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::uint32_t> begun_;
  std::map<std::uint32_t, std::vector<std::optional<ErrorCode>>> outcomes_;
  FillScheduler scheduler_{
      [this](VersionSerial serial, std::stop_token stop) { return fill(serial, stop); },
      {.images_at_once = 2, .source_away = {1ms, 1h}, .no_space = {1h, 1h}, .others = {1h, 1h}}};
};

using Serials = std::vector<std::uint32_t>;

TEST_F(FillSchedulerTest, OneVersionOfAnImageAtATimeInTheOrderAsked) {
  add(1, "a");
  add(2, "a");
  add(3, "a");
  scheduler_.start();
  EXPECT_EQ(begun(1), (Serials{1}));
  end(1);
  EXPECT_EQ(begun(2), (Serials{1, 2}));
  end(2);
  EXPECT_EQ(begun(3), (Serials{1, 2, 3}));
}

TEST_F(FillSchedulerTest, WhatSomebodyReadsGoesBeforeWhatSomebodyWantsBeforeSubscriptions) {
  add(1, "a", FillReason::subscription);
  add(2, "a", FillReason::subscription);
  add(3, "a", FillReason::pull);
  add(4, "a", FillReason::reader);
  add(2, "a", FillReason::pull);
  for (const std::uint32_t serial : {1u, 2u, 3u}) end(serial);
  scheduler_.start();
  EXPECT_EQ(begun(1), (Serials{4}));
  end(4);
  EXPECT_EQ(begun(4), (Serials{4, 2, 3, 1}));
}

TEST_F(FillSchedulerTest, WhatIsRemovedEndsAndIsNotTriedAgain) {
  add(1, "a");
  add(2, "a");
  add(3, "a");
  scheduler_.start();
  begun(1);
  scheduler_.remove(VersionSerial(2));
  scheduler_.remove(VersionSerial(1));
  scheduler_.remove(VersionSerial(77));
  EXPECT_EQ(begun(2), (Serials{1, 3}));
}

TEST_F(FillSchedulerTest, SeveralImagesAtTheSameTime) {
  add(1, "a");
  add(2, "a");
  add(3, "b");
  scheduler_.start();
  auto both = begun(2);
  std::ranges::sort(both);
  EXPECT_EQ(both, (Serials{1, 3}));
}

TEST_F(FillSchedulerTest, AnArrivalIsQueuedOnce) {
  add(1, "a");
  add(1, "a");
  scheduler_.start();
  end(1);
  begun(1);
  add(2, "a");
  EXPECT_EQ(begun(2), (Serials{1, 2}));
}

TEST_F(FillSchedulerTest, AFailingOneDoesNotHoldUpTheNext) {
  add(1, "a");
  add(2, "a");
  end(1, ErrorCode::corrupt);
  scheduler_.start();
  EXPECT_EQ(begun(2), (Serials{1, 2}));
}

TEST_F(FillSchedulerTest, WhatFailedBecauseTheSourceIsAwayIsTriedAgainSoon) {
  add(1, "a");
  end(1, ErrorCode::unavailable);
  end(1, ErrorCode::timed_out);
  scheduler_.start();
  EXPECT_EQ(begun(3), (Serials{1, 1, 1}));
}

TEST_F(FillSchedulerTest, ReturnOfTheSourceOrOfRoomEndsTheWaiting) {
  add(1, "a");
  end(1, ErrorCode::no_space);  // waits an hour
  scheduler_.start();
  begun(1);
  scheduler_.retry_now();
  EXPECT_EQ(begun(2), (Serials{1, 1}));
}

TEST_F(FillSchedulerTest, StoppingEndsWhatIsUnderWay) {
  add(1, "a");
  scheduler_.start();
  begun(1);
  scheduler_.stop();
  SUCCEED() << "stop() came back although nobody told the fill how to end";
}

}  // namespace
}  // namespace icbd::replicator
