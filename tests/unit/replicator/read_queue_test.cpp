#include "icbd/replicator/read_queue.h"

#include <gtest/gtest.h>

#include <optional>

#include "entries.h"

namespace icbd::replicator {
namespace {

constexpr std::uint64_t chunk = limits::chunk_size;

class ReadQueueTest : public testing::Test {
 protected:
  std::shared_ptr<ReadJob> read(ByteRange range) {
    return std::make_shared<ReadJob>(FileIndex(1), range,
                                     [this](Result<Bytes> result) { answers.push_back(result); });
  }
  ChunkNumber number(std::uint32_t index) const {
    return chunks.number(FileIndex(1), ChunkIndex(index));
  }

  ChunkMap chunks{std::vector{directory_entry(""), file_entry("f", 4 * chunk)}};
  ReadQueue queue;
  std::vector<Result<Bytes>> answers;
};

TEST_F(ReadQueueTest, AReadOverTwoChunksIsAnsweredByTheLastOfThem) {
  auto job = read({chunk - 2, 4});
  bool first = false;
  ASSERT_TRUE(queue.add(chunks, number(0), job, first));
  EXPECT_TRUE(first);
  ASSERT_TRUE(queue.add(chunks, number(1), job, first));
  job->finish_part();
  job.reset();

  const Bytes ones(chunk, std::byte{1}), twos(chunk, std::byte{2});
  for (const auto& waiting : queue.take_and_finish(chunks, number(1)))
    waiting->finish_part({chunk, chunk}, twos);
  EXPECT_TRUE(answers.empty());
  for (const auto& waiting : queue.take_and_finish(chunks, number(0)))
    waiting->finish_part({0, chunk}, ones);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(*answers[0], (Bytes{std::byte{1}, std::byte{1}, std::byte{2}, std::byte{2}}));
}

TEST_F(ReadQueueTest, TheSecondReaderOfAChunkIsNotTheFirstToAskForIt) {
  bool first = false;
  const auto one = read({0, 1}), two = read({5, 1});
  queue.add(chunks, number(0), one, first);
  EXPECT_TRUE(first);
  queue.add(chunks, number(0), two, first);
  EXPECT_FALSE(first);
  EXPECT_EQ(queue.waiting(), 2u);
  queue.fail_all(Error(ErrorCode::io, "over"));
}

TEST_F(ReadQueueTest, NobodyCanBeginToWaitForAChunkThatIsDone) {
  EXPECT_TRUE(queue.take_and_finish(chunks, number(2)).empty());
  bool first = false;
  EXPECT_FALSE(queue.add(chunks, number(2), read({2 * chunk, 1}), first));
}

TEST_F(ReadQueueTest, AFailedJobIsAnsweredOnceAndNoLongerWanted) {
  bool first = false;
  auto job = read({0, 10});
  queue.add(chunks, number(0), job, first);
  EXPECT_TRUE(queue.is_wanted(number(0)));
  job->fail(Error(ErrorCode::timed_out, "too late"));
  job->fail(Error(ErrorCode::io, "again"));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error().code(), ErrorCode::timed_out);
  EXPECT_FALSE(queue.is_wanted(number(0)));
  // Bytes that come after all change nothing.
  job->finish_part({0, chunk}, Bytes(chunk));
  EXPECT_EQ(answers.size(), 1u);
}

TEST_F(ReadQueueTest, AJobThatIsDroppedIsCancelledAndNeverForgotten) {
  read({0, 10}).reset();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error().code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace icbd::replicator
