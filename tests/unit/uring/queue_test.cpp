// What every queue does, whatever the kernel has to offer.
#include "icbd/uring/queue.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "icbd/base/file.h"

#include "fake_queue.h"
#include "harness/temporary_directory.h"

namespace icbd::uring {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t block = 4096;
constexpr std::size_t blocks = 64;
constexpr auto patience = 10s;

struct Kind {
  std::string name;
  std::function<std::unique_ptr<Queue>()> make;
};

std::function<std::unique_ptr<Queue>()> with(QueueOptions options) {
  return [options] { return make_queue(options).value(); };
}

std::vector<Kind> kinds() {
  return {
      {"Ring", with({.capacity = 8})},
      {"RingWithoutDeferredCompletions", with({.capacity = 8, .deferred_completions = false})},
      {"RingWithoutRegisteredBuffers", with({.capacity = 8, .registered_buffers = false})},
      {"Plain", with({.capacity = 8, .ring = false})},
      {"Fake", [] { return std::make_unique<FakeQueue>(1, FakeQueue::Faults{}, std::size_t{8}); }},
  };
}

class QueueTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
    auto file = open_file(folder_->path() / "file", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(file);
    file_ = std::move(*file);
    for (std::size_t i = 0; i < blocks; ++i)
      ASSERT_TRUE(write_at(file_.get(), content(i), i * block));
  }
  static Bytes content(std::size_t number) { return Bytes(block, static_cast<std::byte>(number)); }

  std::optional<harness::TemporaryDirectory> folder_;
  unique_fd file_;
  const std::unique_ptr<Queue> queue_ = GetParam().make();
};

TEST_P(QueueTest, EveryReadCompletesOnceWithItsBytes) {
  std::vector<Bytes> buffers(blocks, Bytes(block));
  std::map<Token, std::size_t> completed;
  std::size_t begun = 0;
  while (completed.size() < blocks) {
    while (begun < blocks && queue_->under_way() < queue_->capacity()) {
      ASSERT_TRUE(queue_->begin(begun, {file_.get(), buffers[begun], begun * block}));
      ++begun;
    }
    const auto completion = queue_->wait(patience);
    ASSERT_TRUE(completion) << completion.error().message();
    ASSERT_TRUE(*completion);
    EXPECT_EQ((*completion)->bytes, block);
    EXPECT_TRUE(completed.emplace((*completion)->token, block).second) << "completed twice";
  }
  for (std::size_t i = 0; i < blocks; ++i) EXPECT_EQ(buffers[i], content(i)) << "block " << i;
  EXPECT_EQ(queue_->under_way(), 0u);
}

TEST_P(QueueTest, MoreThanItHasRoomForIsRefused) {
  std::vector<Bytes> buffers(queue_->capacity() + 1, Bytes(block));
  for (std::size_t i = 0; i < queue_->capacity(); ++i)
    ASSERT_TRUE(queue_->begin(i, {file_.get(), buffers[i], 0}));
  const Status refused = queue_->begin(99, {file_.get(), buffers.back(), 0});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::busy);
}

TEST_P(QueueTest, TheEndOfTheFileIsAShortRead) {
  Bytes buffer(2 * block);
  ASSERT_TRUE(queue_->begin(7, {file_.get(), buffer, (blocks - 1) * block}));
  const auto completion = queue_->wait(patience);
  ASSERT_TRUE(completion && *completion);
  EXPECT_EQ((*completion)->token, 7u);
  EXPECT_EQ((*completion)->bytes, block);
}

TEST_P(QueueTest, AFailedReadSaysSo) {
  Bytes buffer(block);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const unique_fd read_end(ends[0]);
  const unique_fd write_end(ends[1]);
  ASSERT_TRUE(queue_->begin(1, {write_end.get(), buffer, 0}));  // cannot be read from
  const auto completion = queue_->wait(patience);
  ASSERT_TRUE(completion && *completion);
  EXPECT_FALSE((*completion)->bytes);
}

TEST_P(QueueTest, NothingUnderWayIsWaitedForNoLongerThanAsked) {
  const auto completion = queue_->wait(1ms);
  ASSERT_TRUE(completion) << completion.error().message();
  EXPECT_FALSE(*completion);
}

TEST_P(QueueTest, AWaitIsEndedByAnotherThread) {
  std::jthread waker([&] { queue_->wake(); });
  const auto begun = std::chrono::steady_clock::now();
  const auto completion = queue_->wait(patience);
  ASSERT_TRUE(completion) << completion.error().message();
  EXPECT_FALSE(*completion);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, patience);
}

TEST_P(QueueTest, AWakeThatMeetsACompletionIsNotLost) {
  Bytes buffer(block);
  ASSERT_TRUE(queue_->begin(1, {file_.get(), buffer, 0}));
  queue_->wake();
  int completions = 0;
  int wakes = 0;
  const auto begun = std::chrono::steady_clock::now();
  while (completions + wakes < 2 && std::chrono::steady_clock::now() - begun < patience) {
    const auto completion = queue_->wait(patience);
    ASSERT_TRUE(completion) << completion.error().message();
    ++(*completion ? completions : wakes);
  }
  EXPECT_EQ(completions, 1);
  EXPECT_EQ(wakes, 1);
}

TEST_P(QueueTest, RegisteredBuffersAreReadInto) {
  Bytes buffer(2 * block);
  const std::span<std::byte> whole(buffer);
  const Status registered = queue_->register_buffers(std::span(&whole, 1));
  if (!registered) {
    EXPECT_EQ(registered.error().code(), ErrorCode::unsupported);
    GTEST_SKIP() << registered.error().message();
  }
  ASSERT_TRUE(queue_->begin(
      1, {.fd = file_.get(), .buffer = whole.last(block), .offset = 5 * block, .registered = 0}));
  const auto completion = queue_->wait(patience);
  ASSERT_TRUE(completion && *completion);
  ASSERT_EQ((*completion)->bytes, block);
  EXPECT_TRUE(std::ranges::equal(whole.last(block), content(5)));
}

TEST_P(QueueTest, WhatIsUnderWayIsGivenUpWithTheQueue) {
  if (GetParam().name == "Plain" || GetParam().name == "Fake")
    GTEST_SKIP() << "nothing is under way but in the kernel";
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const unique_fd read_end(ends[0]);
  const unique_fd write_end(ends[1]);
  Bytes buffer(block);
  auto queue = GetParam().make();
  ASSERT_TRUE(queue->begin(1, {read_end.get(), buffer, 0}));
  const auto completion = queue->wait(1ms);  // it has reached the kernel
  ASSERT_TRUE(completion && !*completion);
  queue.reset();  // comes back although the pipe stays silent
}

INSTANTIATE_TEST_SUITE_P(Queues, QueueTest, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return kind.param.name; });

TEST(MakeQueue, SaysWhatItUses) {
  EXPECT_THAT(std::string(make_queue({.ring = false}).value()->description()),
              testing::HasSubstr("read(2): io_uring is switched off"));
}

}  // namespace
}  // namespace icbd::uring
