#include "icbd/base/range_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace icbd {
namespace {

TEST(RangeSet, GivesBackWhatWasPutInInOtherPieces) {
  RangeSet set;
  set.add({0, 10});
  set.add({10, 10});
  EXPECT_TRUE(set.remove({5, 10}));
  EXPECT_TRUE(set.remove({0, 5}));
  EXPECT_FALSE(set.empty());
  EXPECT_TRUE(set.remove({15, 5}));
  EXPECT_TRUE(set.empty());
}

TEST(RangeSet, GivesNothingOfWhatIsNotAllThere) {
  RangeSet set;
  set.add({10, 10});
  EXPECT_FALSE(set.remove({5, 10}));
  EXPECT_FALSE(set.remove({15, 10}));
  EXPECT_FALSE(set.remove({10, 0}));
  EXPECT_TRUE(set.remove({10, 10}));
  EXPECT_FALSE(set.remove({10, 10})) << "a second time";
}

TEST(RangeSet, IsASetOfBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  RangeSet set;
  std::set<std::uint64_t> model;
  for (int step = 0; step < 20'000; ++step) {
    const ByteRange range{random() % 64, 1 + random() % 8};
    if (random() % 2 == 0) {
      set.add(range);
      for (std::uint64_t at = range.offset; at < range.end(); ++at) model.insert(at);
      continue;
    }
    bool all = true;
    for (std::uint64_t at = range.offset; at < range.end(); ++at) all = all && model.contains(at);
    ASSERT_EQ(set.remove(range), all) << range.offset << " " << range.length;
    if (all)
      for (std::uint64_t at = range.offset; at < range.end(); ++at) model.erase(at);
    ASSERT_EQ(set.empty(), model.empty());
  }
}

}  // namespace
}  // namespace icbd
