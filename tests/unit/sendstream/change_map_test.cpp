#include "change_map.h"

#include <gmock/gmock.h>

#include <array>
#include <optional>
#include <random>

namespace icbd::sendstream {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ChangeMap, TheLastChangeOfAByteCounts) {
  ChangeMap map;
  map.assign({0, 100}, Change::updated);
  map.assign({40, 20}, Change::rewritten);
  EXPECT_THAT(map.ranges(Change::updated), ElementsAre(ByteRange{0, 40}, ByteRange{60, 40}));
  EXPECT_THAT(map.ranges(Change::rewritten), ElementsAre(ByteRange{40, 20}));
}

TEST(ChangeMap, TouchingRangesOfOneKindAreOne) {
  ChangeMap map;
  map.assign({10, 10}, Change::updated);
  map.assign({30, 10}, Change::updated);
  map.assign({20, 10}, Change::updated);
  EXPECT_THAT(map.ranges(Change::updated), ElementsAre(ByteRange{10, 30}));
}

TEST(ChangeMap, ErasedRangesAreTheParentsAgain) {
  ChangeMap map;
  map.assign({0, 100}, Change::updated);
  map.erase({0, 50});
  map.erase({90, 1000});
  EXPECT_THAT(map.ranges(Change::updated), ElementsAre(ByteRange{50, 40}));
  map.erase({0, 100});
  EXPECT_TRUE(map.empty());
}

TEST(ChangeMap, RangesWithinAreCutToIt) {
  ChangeMap map;
  map.assign({0, 10}, Change::updated);
  map.assign({20, 10}, Change::updated);
  EXPECT_THAT(map.ranges(Change::updated, {5, 20}), ElementsAre(ByteRange{5, 5}, ByteRange{20, 5}));
  EXPECT_THAT(map.ranges(Change::updated, {10, 10}), IsEmpty());
}

// Random changes, held against one entry per byte.
TEST(ChangeMap, AgreesWithAnEntryPerByte) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::uint64_t> number(0, 63);
  for (int round = 0; round < 200; ++round) {
    ChangeMap map;
    std::array<std::optional<Change>, 128> bytes{};
    for (int step = 0; step < 30; ++step) {
      const ByteRange range{number(random), number(random)};
      std::optional<Change> change;
      if (const auto kind = number(random) % 3; kind > 0)
        change = kind == 1 ? Change::updated : Change::rewritten;
      change ? map.assign(range, *change) : map.erase(range);
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, change);
    }
    for (const Change change : {Change::updated, Change::rewritten}) {
      std::array<bool, 128> listed{};
      std::uint64_t last_end = 0;
      for (const ByteRange& range : map.ranges(change)) {
        EXPECT_TRUE(!range.empty() && (range.offset > last_end || last_end == 0));
        last_end = range.end();
        std::fill_n(listed.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, true);
      }
      for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(listed[i], bytes[i] == change) << i;
    }
  }
}

}  // namespace
}  // namespace icbd::sendstream
