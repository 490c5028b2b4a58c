#include "icbd/replicator/chunk_map.h"

#include <gtest/gtest.h>

#include <thread>

#include "entries.h"

namespace icbd::replicator {
namespace {

constexpr std::uint64_t chunk = limits::chunk_size;

std::vector<manifest::Entry> three_files() {
  return {directory_entry(""), file_entry("a", 3 * chunk + 1), file_entry("b", 0),
          file_entry("c", 1)};
}

TEST(ChunkMap, CountsChunksOverAllFiles) {
  const ChunkMap map(three_files());
  EXPECT_EQ(map.count(), 5u);
  EXPECT_EQ(map.number(FileIndex(1), ChunkIndex(3)).value(), 3u);
  EXPECT_EQ(map.number(FileIndex(3), ChunkIndex(0)).value(), 4u);
}

TEST(ChunkMap, DoneIsFinal) {
  ChunkMap map(three_files());
  EXPECT_TRUE(map.advance(ChunkNumber(0), ChunkState::done));
  EXPECT_FALSE(map.advance(ChunkNumber(0), ChunkState::pending));
  EXPECT_FALSE(map.advance(ChunkNumber(0), ChunkState::done));
  EXPECT_EQ(map.state(ChunkNumber(0)), ChunkState::done);
  EXPECT_EQ(map.done_count(), 1u);
}

TEST(ChunkMap, RemembersWhatWasWrittenUntilItIsRevoked) {
  ChunkMap map(three_files());
  EXPECT_EQ(map.written(ChunkNumber(2)), std::nullopt);
  const ChunkMap::Written packed{.bytes = Fingerprint(7), .packed = true};
  map.remember_written(ChunkNumber(2), packed);
  EXPECT_EQ(map.written(ChunkNumber(2)), packed);
  EXPECT_EQ(map.written(ChunkNumber(3)), std::nullopt);
  map.advance(ChunkNumber(2), ChunkState::done);
  map.revoke(ChunkNumber(2));
  EXPECT_EQ(map.written(ChunkNumber(2)), std::nullopt);
}

TEST(ChunkMap, OnlyPendingChunksAreClaimedAndOnlyOnce) {
  ChunkMap map(three_files());
  EXPECT_FALSE(map.claim(ChunkNumber(1))) << "unresolved";
  map.advance(ChunkNumber(1), ChunkState::pending);
  EXPECT_TRUE(map.claim(ChunkNumber(1)));
  EXPECT_FALSE(map.claim(ChunkNumber(1)));
  map.release(ChunkNumber(1));
  EXPECT_TRUE(map.claim(ChunkNumber(1)));
}

TEST(ChunkMap, ADamagedChunkIsToBeFilledAgain) {
  ChunkMap map(three_files());
  map.advance(ChunkNumber(1), ChunkState::done);
  map.revoke(ChunkNumber(1));
  EXPECT_EQ(map.state(ChunkNumber(1)), ChunkState::pending);
  EXPECT_EQ(map.done_count(), 0u);
  map.revoke(ChunkNumber(0));
  EXPECT_EQ(map.state(ChunkNumber(0)), ChunkState::unresolved) << "only what was done";
}

TEST(ChunkMap, ARangeIsDoneWhenEveryChunkThatItTouchesIs) {
  ChunkMap map(three_files());
  const FileIndex file(1);
  map.advance(map.number(file, ChunkIndex(1)), ChunkState::done);
  EXPECT_TRUE(map.is_done(file, {chunk, chunk}));
  EXPECT_FALSE(map.is_done(file, {chunk - 1, 2}));
  EXPECT_FALSE(map.is_done(file, {chunk, chunk + 1}));
  map.advance(map.number(file, ChunkIndex(2)), ChunkState::done);
  map.advance(map.number(file, ChunkIndex(3)), ChunkState::done);
  EXPECT_TRUE(map.is_done(file, {chunk, 100 * chunk})) << "what lies past the end is no matter";
  EXPECT_TRUE(map.is_done(FileIndex(2), {0, chunk})) << "an empty file has nothing to wait for";
}

TEST(ChunkMap, ConcurrentClaimsNeverShareAChunk) {
  constexpr std::uint32_t chunks = 10'000;
  ChunkMap map(std::vector{directory_entry(""), file_entry("a", chunks * chunk)});
  for (std::uint64_t i = 0; i < chunks; ++i) map.advance(ChunkNumber(i), ChunkState::pending);
  std::atomic<std::uint32_t> claimed = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (std::uint64_t i = 0; i < chunks; ++i)
          if (map.claim(ChunkNumber(i))) ++claimed;
      });
  }
  EXPECT_EQ(claimed, chunks);
}

}  // namespace
}  // namespace icbd::replicator
