#include "icbd/base/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <memory>

namespace icbd {
namespace {

using ::testing::ElementsAre;
using namespace std::chrono_literals;

// Runs one task on each thread and waits: what was posted before and is due has begun.
void wait_for_turn(Executor& executor) {
  // Shared, because the waiter may go on before set_value() has returned.
  const auto done = std::make_shared<std::promise<void>>();
  executor.post([done] { done->set_value(); });
  done->get_future().wait();
}

TEST(Executor, RunsTasksInTheirOrder) {
  Executor executor("test", 1);
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) executor.post([&order, i] { order.push_back(i); });
  wait_for_turn(executor);
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

std::ptrdiff_t threads_of_this_process() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

TEST(Executor, StartsThreadsForTasksThatNoIdleOneCanTake) {
  const auto before = threads_of_this_process();
  std::promise<void> first, go;
  auto first_began = first.get_future();
  Executor executor("test", 8);
  EXPECT_EQ(threads_of_this_process(), before + 1);
  executor.post([&] {
    first.set_value();
    go.get_future().wait();
  });
  first_began.wait();
  EXPECT_EQ(threads_of_this_process(), before + 1);
  wait_for_turn(executor);
  EXPECT_EQ(threads_of_this_process(), before + 2);
  go.set_value();
}

TEST(Executor, RunsDelayedTasksWhenTheyAreDue) {
  std::vector<int> order;
  std::promise<void> done;
  Executor executor("test", 1);
  const auto begin = std::chrono::steady_clock::now();
  executor.post_after(60ms, [&] {
    order.push_back(3);
    done.set_value();
  });
  executor.post_after(30ms, [&] { order.push_back(2); });
  executor.post([&] { order.push_back(1); });
  done.get_future().wait();
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 60ms);
}

TEST(Executor, RunsAsManyTasksAtOnceAsItHasThreads) {
  std::promise<void> first, second;
  auto first_began = first.get_future(), second_began = second.get_future();
  Executor executor("test", 2);  // after what its tasks use, so that it ends before
  executor.post([&] {
    first.set_value();
    second_began.wait();  // ends only if the other runs beside it
  });
  executor.post([&] { second.set_value(); });
  first_began.wait();
  wait_for_turn(executor);
}

TEST(Executor, TasksMayPostTasks) {
  std::promise<void> done;
  Executor executor("test", 1);
  executor.post([&] { executor.post([&] { done.set_value(); }); });
  done.get_future().wait();
}

TEST(Executor, StoppingDropsAndDestroysWhatHasNotBegun) {
  auto owned = std::make_shared<int>(0);
  std::atomic<bool> ran = false;
  Executor executor("test", 1);
  executor.post_after(1h, [owned, &ran] { ran = true; });
  EXPECT_EQ(owned.use_count(), 2);
  executor.stop();
  EXPECT_EQ(owned.use_count(), 1);
  executor.post([owned, &ran] { ran = true; });
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_FALSE(ran);
}

TEST(Executor, StoppingLetsARunningTaskEnd) {
  std::promise<void> began, go_on;
  bool ended = false;
  Executor executor("test", 1);
  executor.post([&] {
    began.set_value();
    go_on.get_future().wait();
    ended = true;
  });
  began.get_future().wait();
  std::jthread stopper([&] { executor.stop(); });
  go_on.set_value();
  stopper.join();
  EXPECT_TRUE(ended);
}

TEST(Executor, DestroysATaskBeforeTheNextBegins) {
  Executor executor("test", 1);
  const auto owned = std::make_shared<int>(0);
  executor.post([owned] {});
  wait_for_turn(executor);
  EXPECT_EQ(owned.use_count(), 1);
}

}  // namespace
}  // namespace icbd
