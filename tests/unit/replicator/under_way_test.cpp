#include "under_way.h"

#include <gtest/gtest.h>

#include "entries.h"

namespace icbd::replicator {
namespace {

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
  UnderWay under_way_{chunks_};
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

// A patch changes a little of each chunk.
TEST_F(UnderWayTest, CountsWhatIsFetchedOfAChunkNotAllOfIt) {
  under_way_.set_rate(chunk_size);
  under_way_.asked(batch(0, 4, chunk_size));
  EXPECT_DOUBLE_EQ(until(3), 1);
}

}  // namespace
}  // namespace icbd::replicator
