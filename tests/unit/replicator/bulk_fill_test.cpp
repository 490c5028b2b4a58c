// How filling goes on beside what it waits for.

#include "bulk_fill.h"

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Moves on with each checkpoint that is due: by time, not by how much was stored.
class BulkFillTest : public ArrivalTest {
 protected:
  void SetUp() override {
    ArrivalTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    publish("for i in $(seq 8); do head -c 6M /dev/urandom > $i; done");
    start();
    wait_until_known(1);
    const auto version = open(1);
    ASSERT_DONE(version);
    version_ = *version;
    filler_.emplace(content(), *source_, readers_);
    // Each request finds that five seconds have passed.
    source_->on_extent = [this](const source::Extent&) { time_.advance(5s); };
  }
  void TearDown() override {
    filler_.reset();
    version_.reset();
    ArrivalTest::TearDown();
  }
  Content& content() { return version_->arrival->content(); }
  Status fill(std::function<Status()> checkpoint) {
    under_way_.emplace(content().chunks(), time_);
    BulkFill bulk(content(), *filler_, time_, pending_, *under_way_,
                  {.remember = [] { return Status(); },
                   .checkpoint = std::move(checkpoint),
                   .check_room = [](std::uint64_t) { return Status(); },
                   .pace = [](std::uint64_t) { return Clock::Duration::zero(); }});
    ICBD_TRY(bulk.prepare({}));
    return bulk.run({});
  }

  ManualClock time_;
  ReadQueue readers_;
  std::atomic<std::uint64_t> pending_ = 0;
  std::optional<UnderWay> under_way_;
  std::optional<Filler> filler_;
  std::shared_ptr<const OpenedVersion> version_;
};

TEST_F(BulkFillTest, GoesOnWhileACheckpointWaitsForTheDisk) {
  std::atomic<int> checkpoints = 0;
  ASSERT_DONE(fill([&]() -> Status {
    if (checkpoints++ != 0) return {};
    // The first one takes until all the rest is here: had the fill to wait for it, it would never.
    wait_until([&] { return content().chunks().done_count() == content().chunks().count(); },
               "nothing is fetched beside a checkpoint");
    return {};
  }));
  EXPECT_GT(checkpoints, 0);
}

TEST_F(BulkFillTest, WritesOneCheckpointAtATime) {
  std::atomic<int> under_way = 0, most = 0;
  ASSERT_DONE(fill([&]() -> Status {
    most = std::max<int>(most, ++under_way);
    std::this_thread::yield();
    --under_way;
    return {};
  }));
  EXPECT_EQ(most, 1);
}

TEST_F(BulkFillTest, IsOverOnlyWithItsLastCheckpoint) {
  std::atomic<int> under_way = 0;
  ASSERT_DONE(fill([&]() -> Status {
    ++under_way;
    std::this_thread::sleep_for(50ms);
    --under_way;
    return {};
  }));
  EXPECT_EQ(under_way, 0);
}

// Five seconds for each extent: a chunk. What is asked for next has some of them before it.
TEST_F(BulkFillTest, SaysWhenAChunkIsToBeExpected) {
  std::mutex mutex;
  double longest = 0;
  source_->on_extent = [&](const source::Extent& extent) {
    time_.advance(5s);
    const ChunkIndex chunk(chunks_of(extent.range).last);
    const std::lock_guard lock(mutex);
    if (const auto time = under_way_->until(extent.file, chunk))
      longest = std::max(longest, time->count());
  };
  ASSERT_DONE(fill([] { return Status(); }));
  EXPECT_GE(longest, 3 * 5);
}

TEST_F(BulkFillTest, EndsWithTheErrorOfACheckpoint) {
  const Status filled = fill([] { return fail(ErrorCode::io, "the disk is gone"); });
  ASSERT_FALSE(filled);
  EXPECT_EQ(filled.error().message(), "the disk is gone");
}

}  // namespace
}  // namespace icbd::replicator
