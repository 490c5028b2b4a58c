#include "icbd/base/types.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace icbd {
namespace {

TEST(StrongNumber, IsNotANumberAndNotAnotherOne) {
  static_assert(!std::is_convertible_v<std::uint32_t, VersionNumber>);
  static_assert(!std::is_convertible_v<VersionNumber, std::uint32_t>);
  static_assert(!std::is_convertible_v<VersionNumber, VersionSerial>);
  static_assert(std::is_trivially_copyable_v<VersionNumber> &&
                sizeof(VersionNumber) == sizeof(std::uint32_t));
  EXPECT_LT(VersionNumber(1), VersionNumber(2));
  EXPECT_EQ(VersionNumber().value(), 0u);
  const std::unordered_set<VersionNumber> numbers = {VersionNumber(1), VersionNumber(1)};
  EXPECT_EQ(numbers.size(), 1u);
}

TEST(ByteRange, IntersectsInWhatIsShared) {
  const ByteRange range{10, 10};
  EXPECT_EQ(intersect(range, {12, 3}), (ByteRange{12, 3}));
  EXPECT_EQ(intersect(range, {0, 100}), range);
  EXPECT_EQ(intersect(range, {5, 10}), (ByteRange{10, 5}));
  EXPECT_EQ(intersect(range, {15, 100}), (ByteRange{15, 5}));
  EXPECT_EQ(intersect({5, 10}, range), intersect(range, {5, 10}));
}

TEST(ByteRange, IntersectsInNothingWhereRangesOnlyTouch) {
  const ByteRange range{10, 10};
  for (const ByteRange other :
       {ByteRange{0, 10}, ByteRange{20, 5}, ByteRange{15, 0}, ByteRange{0, 0}, ByteRange{100, 1}})
    EXPECT_TRUE(intersect(range, other).empty()) << other.offset;
}

TEST(Timestamp, IsOrderedBySecondsFirst) {
  EXPECT_LT((Timestamp{1, 999'999'999}), (Timestamp{2, 0}));
  EXPECT_LT((Timestamp{-1, 5}), (Timestamp{-1, 6}));
}

}  // namespace
}  // namespace icbd
