#include "under_way.h"

#include <gtest/gtest.h>

#include "entries.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t chunk_size = limits::chunk_size;
constexpr FileIndex disk{0};

// One file of ten chunks, which comes at one chunk in a second.
class UnderWayTest : public testing::Test {
 protected:
  static UnderWay::Batch batch(std::uint32_t first, std::uint32_t count, std::uint64_t bytes) {
    UnderWay::Batch batch{.chunks = {}, .bytes = bytes};
    for (std::uint32_t i = 0; i < count; ++i)
      batch.chunks.push_back({disk, ChunkIndex(first + i), {}});
    return batch;
  }
  double until(std::uint32_t chunk) const {
    return under_way_.until(disk, ChunkIndex(chunk)).value_or(UnderWay::Seconds(-1)).count();
  }

  const std::vector<manifest::Entry> entries_ = {file_entry("disk", 10 * chunk_size)};
  ChunkMap chunks_{entries_};
  ManualClock time_;
  UnderWay under_way_{chunks_, time_};
};

TEST_F(UnderWayTest, SaysNothingBeforeAnythingHasCome) {
  under_way_.asked(batch(0, 2, 2 * chunk_size));
  EXPECT_FALSE(under_way_.until(disk, ChunkIndex(0)));
}

TEST_F(UnderWayTest, CountsWhatComesBeforeAndTheChunkItself) {
  under_way_.set_rate(chunk_size);
  under_way_.asked(batch(0, 2, 2 * chunk_size));
  under_way_.asked(batch(6, 3, 3 * chunk_size));
  EXPECT_DOUBLE_EQ(until(0), 1);
  EXPECT_DOUBLE_EQ(until(1), 2);
  EXPECT_DOUBLE_EQ(until(7), 4);
}

TEST_F(UnderWayTest, WhatIsInNoBatchComesLast) {
  under_way_.set_rate(chunk_size);
  under_way_.asked(batch(0, 4, 4 * chunk_size));
  EXPECT_DOUBLE_EQ(until(9), 4);
}

TEST_F(UnderWayTest, WhatHasComeIsNotWaitedFor) {
  under_way_.set_rate(chunk_size);
  const auto& first = under_way_.asked(batch(0, 4, 4 * chunk_size));
  under_way_.asked(batch(4, 2, 2 * chunk_size));
  chunks_.advance(ChunkNumber(0), ChunkState::done);
  chunks_.advance(ChunkNumber(1), ChunkState::done);
  EXPECT_DOUBLE_EQ(until(5), 4);
  under_way_.ended(first);
  EXPECT_DOUBLE_EQ(until(5), 2);
}

TEST_F(UnderWayTest, ForgetsTheRateOfAnotherFill) {
  under_way_.set_rate(chunk_size);
  under_way_.restart();
  EXPECT_FALSE(under_way_.until(disk, ChunkIndex(0)));
}

// A patch changes a little of each chunk.
TEST_F(UnderWayTest, CountsWhatIsFetchedOfAChunkNotAllOfIt) {
  under_way_.set_rate(chunk_size);
  under_way_.asked(batch(0, 4, chunk_size));
  EXPECT_DOUBLE_EQ(until(3), 1);
}

// A chunk takes 10 ms to come, and to ask for one takes 45.
class PatienceTest : public UnderWayTest {
 protected:
  PatienceTest() {
    under_way_.set_rate(chunk_size * 100);
    for (int i = 0; i < 100; ++i) under_way_.note_asking(0.045s, 1);
    under_way_.asked(batch(0, 10, 10 * chunk_size));
  }
  // In milliseconds; at_once if it is to be asked for.
  double patience(std::uint32_t chunk, UnderWay::Wanted wanted = {}) const {
    wanted.chunk = ChunkIndex(chunk);
    const auto found = under_way_.patience(wanted);
    return found ? static_cast<double>(found->count()) : at_once;
  }
  static constexpr double at_once = -1;
};

TEST_F(PatienceTest, WhatComesSoonIsLeftToBulkForALittleLongerThanThat) {
  EXPECT_NEAR(patience(0), 5 + 15, 1);
  EXPECT_NEAR(patience(1), 5 + 30, 1);
}

TEST_F(PatienceTest, WhatComesLaterIsAskedForAtOnce) {
  EXPECT_EQ(patience(2), at_once);
  EXPECT_EQ(patience(9), at_once);
}

TEST_F(PatienceTest, WhoFollowsBulkWaitsForAsLongAsAskingWouldTake) {
  EXPECT_NEAR(patience(3, {.follows = true}), 5 + 60, 1);
  EXPECT_EQ(patience(4, {.follows = true}), at_once);
}

// They would come one after the other too.
TEST_F(PatienceTest, WhoWantsManyInARowWaitsForTheLastOfThemForLonger) {
  EXPECT_NEAR(patience(7, {.before = 4, .follows = true}), 5 + 120, 1);
  EXPECT_EQ(patience(8, {.before = 4, .follows = true}), at_once);
}

TEST_F(PatienceTest, WhatIsOnItsWayForAnotherReaderIsWaitedFor) {
  EXPECT_NEAR(patience(9, {.for_reader = true}), 5 + 68, 1);
}

TEST_F(PatienceTest, BulkHasATimeOfItsOwnWhileNothingIsKnownOfIt) {
  under_way_.restart();
  EXPECT_EQ(patience(9), static_cast<double>(UnderWay::first_patience.count()));
}

TEST_F(PatienceTest, WhoReadsHereAndThereWaitsNoMoreForALinkThatShowsNothing) {
  under_way_.restart();
  time_.advance(UnderWay::first_moment);
  EXPECT_EQ(patience(9), at_once);
  EXPECT_EQ(patience(9, {.follows = true}), static_cast<double>(UnderWay::first_patience.count()));
}

TEST_F(PatienceTest, ALinkThatStoodStillOnceIsNotTakenForASlowOne) {
  under_way_.note_asking(9s, 1);
  EXPECT_EQ(patience(9), at_once);
  EXPECT_NEAR(patience(9, {.for_reader = true}), 5 + 119, 1);
}

TEST_F(PatienceTest, ManyAtOnceSayOnlyThatOneIsFast) {
  under_way_.note_asking(1s, 8);
  EXPECT_NEAR(patience(9, {.for_reader = true}), 5 + 68, 1);
  under_way_.note_asking(0.02s, 8);
  EXPECT_NEAR(patience(9, {.for_reader = true}), 5 + 59, 1);
}

TEST_F(PatienceTest, NobodyWaitsForLong) {
  for (int i = 0; i < 100; ++i) under_way_.note_asking(60s, 1);
  EXPECT_EQ(patience(9, {.for_reader = true}),
            static_cast<double>(UnderWay::longest_patience.count()));
}

}  // namespace
}  // namespace icbd::replicator
