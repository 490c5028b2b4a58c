#include "extent_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "fake_source.h"
#include "messages.h"
#include "unpacker.h"

namespace icbd::wire {
namespace {

using source::Extent;
using source::Priority;
using testing::FakeSource;

constexpr std::uint64_t chunk = limits::chunk_size;

class ExtentEngineTest : public ::testing::Test {
 protected:
  Unit unit(std::size_t first_chunk, std::size_t count = 8, Priority priority = Priority::bulk) {
    const auto chunks = FakeSource::chunks(first_chunk + count);
    return {.manifest = source_.manifest,
            .priority = priority,
            .setting = {},
            .extents = {chunks.begin() + static_cast<std::ptrdiff_t>(first_chunk), chunks.end()}};
  }
  // Unpacks the frames and compares all that is in them.
  static void expect_right(const Unit& unit, const std::vector<PreparedFrame>& frames) {
    std::vector<Extent> seen;
    for (const PreparedFrame& frame : frames)
      for (const source::ExtentData& data : extents_of(frame)) {
        EXPECT_TRUE(std::ranges::equal(data.data, FakeSource::content(data.extent)));
        seen.push_back(data.extent);
      }
    EXPECT_EQ(seen, unit.extents);
  }
  static std::vector<source::ExtentData> extents_of(const PreparedFrame& frame) {
    if (frame.codec == codec::Algorithm::none) return frame.extents;
    PayloadBuffers buffers;
    IncomingFrame packed;
    packed.header.codec = static_cast<std::uint8_t>(frame.codec);
    packed.header.plain_length = frame.plain_length;
    packed.payload = frame.head;
    const auto plain = Unpacker().unpack(packed, buffers);
    EXPECT_TRUE(plain) << plain.error().message();
    return decode_extents_reply(plain->payload, plain->buffer).value();
  }

  FakeSource source_;
  ExtentEngine engine_{source_, {.workers = 2}};
};

TEST(CutIntoUnits, UnitsEndAtEveryMebibyteOfAFile) {
  const FileIndex file(0);
  const std::vector<Extent> extents = {
      {file, {6 * chunk, chunk}}, {file, {7 * chunk, 10}}, {file, {8 * chunk, chunk}}};
  const auto units = cut_into_units({}, Priority::bulk, extents);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].extents.size(), 2u);
  EXPECT_EQ(units[1].extents.size(), 1u);
}

TEST(CutIntoUnits, SmallFilesShareOne) {
  std::vector<Extent> extents;
  for (std::uint32_t i = 0; i < 300; ++i) extents.push_back({FileIndex(i), {0, 5'000}});
  const auto units = cut_into_units({}, Priority::bulk, extents);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].extents.size(), 209u) << "as many as a mebibyte holds";
}

TEST(CutIntoUnits, NothingIsLostOrMixed) {
  const auto extents = FakeSource::chunks(100);
  std::vector<Extent> all;
  for (const Unit& unit : cut_into_units({}, Priority::demand, extents)) {
    EXPECT_EQ(unit.priority, Priority::demand);
    all.insert(all.end(), unit.extents.begin(), unit.extents.end());
  }
  EXPECT_EQ(all, extents);
}

// An extent that crosses the border of a mebibyte would have to be sent plainly in two parts.
TEST_F(ExtentEngineTest, ARequestForCompressedExtentsIsCutBetweenThem) {
  const Bytes data(4096, std::byte{1});
  source_.encoded = {{.file = FileIndex(0),
                      .range = {8 * chunk - 40'960, 65'536},
                      .unencoded_length = 65'536,
                      .compression = 2,
                      .data = data}};
  ExtentsRequest request{.manifest = source_.manifest,
                         .priority = Priority::bulk,
                         .encoded = true,
                         .extents = FakeSource::chunks(16)};
  const auto units = engine_.cut(request);
  ASSERT_EQ(units.size(), 2u);
  const std::uint64_t border = source_.encoded.front().range.offset;
  EXPECT_EQ(units[0].extents.back().range.end(), border);
  EXPECT_EQ(units[1].extents.front().range.offset, border);
  EXPECT_EQ(units[0].bytes() + units[1].bytes(), 16 * chunk);

  ExtentEngine::Queue queue(engine_);
  const auto prepared = queue.submit(units[1]);
  const auto& frames = prepared->wait();
  ASSERT_TRUE(frames) << frames.error().message();
  ASSERT_EQ(frames->size(), 2u);
  EXPECT_EQ(frames->front().type, FrameType::encoded_reply);
  EXPECT_EQ(frames->front().encoded.front().range, source_.encoded.front().range);
  EXPECT_EQ(frames->back().type, FrameType::extents_reply);

  request.encoded = false;
  EXPECT_EQ(engine_.cut(request)[0].bytes(), 8 * chunk);
}

TEST_F(ExtentEngineTest, AnExtentIsNotMovedWhereTheRequestDoesNotReach) {
  const Bytes data(4096, std::byte{1});
  source_.encoded = {{.file = FileIndex(0),
                      .range = {7 * chunk + 4096, chunk},
                      .unencoded_length = chunk,
                      .compression = 2,
                      .data = data}};
  const FileIndex file(0);
  const ExtentsRequest request{
      .manifest = source_.manifest,
      .priority = Priority::bulk,
      .encoded = true,
      .extents = {
          {file, {0, chunk}}, {file, {8 * chunk - 4096, 4096}}, {file, {8 * chunk, chunk}}}};
  const auto units = engine_.cut(request);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].extents, (std::vector<Extent>{{file, {0, chunk}}}));
  EXPECT_EQ(units[1].extents,
            (std::vector<Extent>{{file, {8 * chunk - 4096, 4096}}, {file, {8 * chunk, chunk}}}));
}

TEST_F(ExtentEngineTest, AUnitIsPreparedAsOneFrame) {
  ExtentEngine::Queue queue(engine_);
  const auto prepared = queue.submit(unit(0));
  const auto& frames = prepared->wait();
  ASSERT_TRUE(frames) << frames.error().message();
  EXPECT_EQ(frames->size(), 1u);
  expect_right(prepared->unit(), *frames);
}

TEST_F(ExtentEngineTest, AFrameHoldsNoMoreThanIsAskedFor) {
  ExtentEngine::Queue queue(engine_);
  Unit asked = unit(0);
  asked.frame_bytes = 2 * limits::chunk_size;
  const auto prepared = queue.submit(asked);
  const auto& frames = prepared->wait();
  ASSERT_TRUE(frames) << frames.error().message();
  EXPECT_EQ(frames->size(), 4u);
  expect_right(prepared->unit(), *frames);
  EXPECT_GT(prepared->packing().all.plain, asked.bytes());
}

TEST_F(ExtentEngineTest, APackedUnitComesInFramesOfAboutAChunk) {
  ExtentEngine::Queue queue(engine_);
  Unit asked = unit(0);
  asked.setting = {codec::Algorithm::zstd, 1};
  asked.sample = codec::Setting{codec::Algorithm::lz4, 0};
  const auto prepared = queue.submit(asked);
  const auto& frames = prepared->wait();
  ASSERT_TRUE(frames) << frames.error().message();
  EXPECT_EQ(frames->size(), 8u);
  expect_right(prepared->unit(), *frames);
  const auto& packing = prepared->packing();
  EXPECT_GT(packing.all.plain, asked.bytes());
  EXPECT_LT(packing.all.packed, packing.all.plain);
  EXPECT_GT(packing.all.time.count(), 0);
  EXPECT_GT(packing.sample.plain, 0u);
  EXPECT_LT(packing.sample.plain, packing.all.plain) << "a part is enough";
}

TEST_F(ExtentEngineTest, WhatTheSourceRefusesIsTheUnitsError) {
  ExtentEngine::Queue queue(engine_);
  Unit asked = unit(0);
  asked.manifest = sha256(as_bytes("another"));
  const auto prepared = queue.submit(asked);
  const auto& frames = prepared->wait();
  ASSERT_FALSE(frames);
  EXPECT_EQ(frames.error().code(), ErrorCode::not_found);
}

TEST_F(ExtentEngineTest, WhatTwoWantAtTheSameTimeIsPreparedOnce) {
  ExtentEngine::Queue one(engine_);
  ExtentEngine::Queue other(engine_);
  // From the second one on it is known that there are two.
  ASSERT_TRUE(one.submit(unit(64))->wait());
  ASSERT_TRUE(other.submit(unit(72))->wait());
  for (std::size_t i = 0; i < 8; ++i) {
    const auto first = one.submit(unit(i * 8));
    const auto second = other.submit(unit(i * 8));
    EXPECT_EQ(first, second);
    ASSERT_TRUE(second->wait());
  }
  EXPECT_EQ(engine_.counters().units_prepared, 10u);
  EXPECT_EQ(engine_.counters().units_shared, 8u);
}

TEST_F(ExtentEngineTest, ManyThatAreBusyHaveSmallerWindowsButTwoUnitsEach) {
  constexpr std::uint64_t mebibyte = 1024 * 1024;
  const auto window_of = [&](int connections) {
    for (int i = 0; i < connections; ++i) engine_.note_busy(true);
    const std::uint64_t window = engine_.window_bytes();
    for (int i = 0; i < connections; ++i) engine_.note_busy(false);
    return window;
  };
  EXPECT_EQ(window_of(1), 4 * mebibyte);
  EXPECT_EQ(window_of(6), 4 * mebibyte);
  EXPECT_EQ(window_of(8), 3 * mebibyte);
  EXPECT_EQ(window_of(200), 2 * mebibyte);
  EXPECT_EQ(window_of(0), 4 * mebibyte);
}

// So that it reads past the page cache what one alone fetches, and leaves in it what others will
// want.
TEST_F(ExtentEngineTest, TheSourceIsToldWhetherSeveralFetch) {
  ExtentEngine::Queue one(engine_);
  ASSERT_TRUE(one.submit(unit(0))->wait());
  EXPECT_EQ(source_.last_priority, Priority::bulk);
  {
    ExtentEngine::Queue other(engine_);
    ASSERT_TRUE(other.submit(unit(8, 1, Priority::demand))->wait());
    EXPECT_EQ(source_.last_priority, Priority::demand);
    ASSERT_TRUE(one.submit(unit(16))->wait());
    EXPECT_EQ(source_.last_priority, Priority::bulk) << "readers are nobody to share with";
    ASSERT_TRUE(other.submit(unit(24))->wait());
    EXPECT_EQ(source_.last_priority, Priority::shared_bulk);
  }
  ASSERT_TRUE(one.submit(unit(32))->wait());
  EXPECT_EQ(source_.last_priority, Priority::bulk);
}

// What one of them measures beside is its own affair.
TEST_F(ExtentEngineTest, ASampleDoesNotKeepAUnitFromBeingShared) {
  ExtentEngine::Queue one(engine_);
  ExtentEngine::Queue other(engine_);
  ASSERT_TRUE(one.submit(unit(64))->wait());
  ASSERT_TRUE(other.submit(unit(72))->wait());
  Unit sampled = unit(0);
  sampled.sample = codec::Setting{codec::Algorithm::lz4, 0};
  EXPECT_EQ(one.submit(sampled), other.submit(unit(0)));
}

TEST_F(ExtentEngineTest, OtherSettingsAreNotShared) {
  ExtentEngine::Queue one(engine_);
  ExtentEngine::Queue other(engine_);
  ASSERT_TRUE(one.submit(unit(64))->wait());
  ASSERT_TRUE(other.submit(unit(72))->wait());
  Unit packed = unit(0);
  packed.setting = {codec::Algorithm::lz4, 0};
  EXPECT_NE(one.submit(unit(0)), other.submit(packed));
}

TEST_F(ExtentEngineTest, AFailureIsNotShared) {
  ExtentEngine::Queue one(engine_);
  ExtentEngine::Queue other(engine_);
  ASSERT_TRUE(one.submit(unit(64))->wait());
  ASSERT_TRUE(other.submit(unit(72))->wait());
  Unit asked = unit(0);
  asked.manifest = sha256(as_bytes("to be published"));
  EXPECT_FALSE(one.submit(asked)->wait());
  const Digest before = source_.manifest;
  source_.manifest = asked.manifest;
  EXPECT_TRUE(other.submit(asked)->wait());
  source_.manifest = before;
}

// Whoever asked first may leave before its turn comes.
TEST_F(ExtentEngineTest, ASharedUnitDoesNotDependOnWhoAskedFirst) {
  std::optional<ExtentEngine::Queue> one(std::in_place, engine_);
  ExtentEngine::Queue other(engine_);
  ASSERT_TRUE(one->submit(unit(64))->wait());
  ASSERT_TRUE(other.submit(unit(72))->wait());
  source_.hold();
  const auto held = {other.submit(unit(80)), other.submit(unit(88))};
  source_.wait_for_held(held.size());
  one->submit(unit(0));
  const auto shared = other.submit(unit(0));
  one.reset();
  source_.release();
  EXPECT_TRUE(shared->wait());
}

TEST_F(ExtentEngineTest, NothingIsKeptForOthersThatHaveGone) {
  std::optional<ExtentEngine::Queue> one(std::in_place, engine_);
  ExtentEngine::Queue other(engine_);
  ASSERT_TRUE(other.submit(unit(64))->wait());
  ASSERT_TRUE(one->submit(unit(72))->wait());
  std::weak_ptr<PreparedUnit> kept;
  {
    const auto shared = one->submit(unit(0));
    ASSERT_TRUE(shared->wait());
    kept = shared;
  }
  EXPECT_FALSE(kept.expired());
  one.reset();
  // The worker that prepared it lets go of it in its own time.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!kept.expired() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_TRUE(kept.expired());
}

// Both workers are at it, and one stays for demand.
TEST_F(ExtentEngineTest, AReaderDoesNotWaitBehindBulk) {
  ExtentEngine::Queue bulk(engine_);
  ExtentEngine::Queue demand(engine_);
  source_.hold();
  for (std::size_t i = 0; i < 4; ++i) bulk.submit(unit(i * 8));
  source_.wait_for_held(2);
  const auto wanted = demand.submit(unit(100, 1, Priority::demand));
  source_.wait_for_held(3);  // or it would hang here
  source_.release();
  EXPECT_TRUE(wanted->wait());
}

}  // namespace
}  // namespace icbd::wire
