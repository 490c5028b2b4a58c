#include "icbd/base/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <set>
#include <thread>
#include <vector>

namespace icbd {
namespace {

TEST(InParallel, EachIsDoneOnce) {
  std::vector<std::atomic<int>> done(1'000);
  ASSERT_TRUE(in_parallel(done.size(), 4, {}, [&](std::size_t i) -> Status {
    ++done[i];
    return {};
  }));
  for (const auto& times : done) EXPECT_EQ(times, 1);
}

TEST(InParallel, SeveralAreDoneAtTheSameTime) {
  std::latch all(3);  // each waits for the others
  ASSERT_TRUE(in_parallel(3, 3, {}, [&](std::size_t) -> Status {
    all.arrive_and_wait();
    return {};
  }));
}

TEST(InParallel, OneThreadIsTheCallers) {
  std::set<std::thread::id> threads;
  ASSERT_TRUE(in_parallel(10, 1, {}, [&](std::size_t) -> Status {
    threads.insert(std::this_thread::get_id());
    return {};
  }));
  EXPECT_EQ(threads, std::set{std::this_thread::get_id()});
}

// So many that they take longer than a thread may be kept from the processor.
constexpr std::size_t very_many = 100'000'000'000;

TEST(InParallel, NothingIsBegunAfterAnError) {
  std::atomic<std::size_t> begun = 0;
  const Status done = in_parallel(very_many, 2, {}, [&](std::size_t i) -> Status {
    ++begun;
    if (i == 10) return fail(ErrorCode::io, "the eleventh");
    return {};
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message(), "the eleventh");
  EXPECT_LT(begun, very_many);
}

TEST(InParallel, EndsWhenItIsToStop) {
  std::stop_source stop;
  std::atomic<std::size_t> begun = 0;
  const Status done = in_parallel(very_many, 2, stop.get_token(), [&](std::size_t i) -> Status {
    ++begun;
    if (i == 10) stop.request_stop();
    return {};
  });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
  EXPECT_LT(begun, very_many);
}

TEST(InParallel, OfNothingNothingIsDone) {
  EXPECT_TRUE(in_parallel(0, 4, {}, [](std::size_t) { return fail(ErrorCode::io, "called"); }));
}

}  // namespace
}  // namespace icbd
