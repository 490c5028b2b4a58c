#include "listing.h"

#include <gtest/gtest.h>

namespace icbd::fs {
namespace {

std::shared_ptr<const Listing> listing(std::vector<std::uint64_t> cookies,
                                       std::shared_ptr<const void> made_of = nullptr) {
  Listing made{.items = {}, .made_of = std::move(made_of)};
  for (const std::uint64_t cookie : cookies)
    made.items.push_back({cookie, std::to_string(cookie), NodeId::root(), 0});
  return std::make_shared<const Listing>(std::move(made));
}

std::shared_ptr<const Listing> long_listing(std::size_t items) {
  std::vector<std::uint64_t> cookies(items);
  for (std::size_t i = 0; i < items; ++i) cookies[i] = i + 1;
  return listing(std::move(cookies));
}

TEST(Listing, GoesOnBehindTheCookieAlsoIfItsEntryHasGone) {
  const auto names = listing({1, 2, 5, 9});
  EXPECT_EQ(names->after(0), 0u);
  EXPECT_EQ(names->after(2), 2u);
  EXPECT_EQ(names->after(3), 2u) << "an entry that is no longer there";
  EXPECT_EQ(names->after(9), 4u);
  EXPECT_EQ(names->after(~std::uint64_t{0}), 4u);
  EXPECT_EQ(listing({})->after(0), 0u);
}

TEST(ListingCache, KnowsWhatWasRead) {
  ListingCache cache;
  EXPECT_EQ(cache.find(1, nullptr), nullptr);
  const auto first = listing({1}), second = listing({1, 2});
  cache.keep(1, first);
  EXPECT_EQ(cache.find(1, nullptr), first);
  EXPECT_EQ(cache.find(2, nullptr), nullptr);
  cache.keep(1, second);
  EXPECT_EQ(cache.find(1, nullptr), second);
}

TEST(ListingCache, AListingOfAnotherPictureIsNotFound) {
  ListingCache cache;
  const auto before = std::make_shared<const int>(1), now = std::make_shared<const int>(1);
  cache.keep(1, listing({1}, before));
  EXPECT_NE(cache.find(1, before), nullptr);
  EXPECT_EQ(cache.find(1, now), nullptr);
  EXPECT_EQ(cache.find(1, nullptr), nullptr);
}

TEST(ListingCache, KeepsWhatWasReadLast) {
  ListingCache cache;
  constexpr std::size_t third = ListingCache::most_items / 3;
  for (std::uint64_t node = 1; node <= 3; ++node) cache.keep(node, long_listing(third));
  EXPECT_NE(cache.find(1, nullptr), nullptr);
  cache.keep(4, long_listing(third));
  EXPECT_NE(cache.find(1, nullptr), nullptr) << "it was read after the second";
  EXPECT_EQ(cache.find(2, nullptr), nullptr);
  EXPECT_NE(cache.find(3, nullptr), nullptr);
}

TEST(ListingCache, OneThatIsTooLongStaysAlone) {
  ListingCache cache;
  cache.keep(1, listing({1}));
  cache.keep(2, long_listing(ListingCache::most_items + 1));
  EXPECT_NE(cache.find(2, nullptr), nullptr) << "somebody is reading it";
  EXPECT_EQ(cache.find(1, nullptr), nullptr);
  cache.keep(3, listing({1}));
  EXPECT_EQ(cache.find(2, nullptr), nullptr);
  EXPECT_NE(cache.find(3, nullptr), nullptr);
}

TEST(ListingCache, OneInTheHandsOfAReaderOutlivesIt) {
  ListingCache cache;
  cache.keep(1, listing({1, 2}));
  const auto held = cache.find(1, nullptr);
  cache.keep(1, listing({7}));
  EXPECT_EQ(held->items.size(), 2u);
}

}  // namespace
}  // namespace icbd::fs
