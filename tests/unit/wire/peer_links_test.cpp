#include "peer_links.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>

namespace icbd::wire {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::uint64_t one_chunk = 128 * 1024;

steady_clock::duration time_of(PeerLinks& links, const std::string& peer) {
  const auto begun = steady_clock::now();
  links.give_way(peer, one_chunk);
  return steady_clock::now() - begun;
}

TEST(PeerLinks, WhatOneConnectionFindsOutServesTheOthersOfThatPeer) {
  PeerLinks links;
  EXPECT_EQ(links.rate("cache"), std::nullopt);
  links.set_rate("cache", 1e6);
  EXPECT_EQ(links.rate("cache"), 1e6);
  EXPECT_EQ(links.rate("another"), std::nullopt);
}

// A rate that was found out long ago must not hold readers back.
TEST(PeerLinks, ReadersArePacedOnlyWhileBulkFindsOutTheRate) {
  PeerLinks links;
  EXPECT_EQ(links.pace_of_readers("cache"), std::nullopt);
  const auto begun = steady_clock::now();
  links.set_rate("cache", 1e6);
  const auto pace = links.pace_of_readers("cache");
  // Unless this machine has stood still for so long.
  if (steady_clock::now() - begun < PeerLinks::rate_is_fresh) {
    EXPECT_EQ(pace, 1e6);
  }
  while (links.pace_of_readers("cache")) {
    ASSERT_LT(steady_clock::now() - begun, 30s);
    std::this_thread::yield();
  }
  EXPECT_EQ(links.rate("cache"), 1e6);
}

TEST(PeerLinks, BulkGivesWayUntilTheReaderIsAnswered) {
  PeerLinks links;
  links.set_rate("cache", 1e6);
  // One byte crosses the link in no time: what is waited for is the answer.
  std::optional<PeerLinks::Reader> reader(std::in_place, links, "cache", 1);
  std::atomic<bool> answered = false;
  auto bulk = std::async(std::launch::async, [&] {
    // On a machine that is busy with something else it may have been as long as it waits at most.
    return time_of(links, "cache") >= PeerLinks::patience || answered.load();
  });
  links.give_way("another", one_chunk);  // or it would take as long
  answered = true;
  reader.reset();
  EXPECT_TRUE(bulk.get());
}

// A link of 2 MB/s takes 65 ms for a chunk.
TEST(PeerLinks, WhatAReaderWasSentCrossesTheLinkFirst) {
  PeerLinks links;
  links.set_rate("cache", 2e6);
  {
    const PeerLinks::Reader reader(links, "cache", one_chunk);
  }
  EXPECT_GE(time_of(links, "cache"), 60ms);
}

TEST(PeerLinks, BulkDoesNotWaitForEver) {
  PeerLinks links;
  links.set_rate("cache", 1e5);
  const PeerLinks::Reader reader(links, "cache", one_chunk);
  const auto took = time_of(links, "cache");
  EXPECT_GE(took, PeerLinks::patience);
  EXPECT_LT(took, 30s);
}

// A chunk takes 1.3 ms of it: ten times that, and not what it would wait for on a slow one. The
// bound is generous, because other processes run too; a hundred waits of 100 ms are beyond it.
TEST(PeerLinks, BulkKeepsATenthOfAFastLink) {
  PeerLinks links;
  links.set_rate("cache", 1e8);
  const PeerLinks::Reader reader(links, "cache", one_chunk);
  const auto begun = steady_clock::now();
  for (int i = 0; i < 100; ++i) links.give_way("cache", one_chunk);
  EXPECT_GE(steady_clock::now() - begun, 1s);
  EXPECT_LT(steady_clock::now() - begun, 8s);
}

// Names come from outside.
TEST(PeerLinks, KnowsABoundedNumberOfPeers) {
  PeerLinks links;
  for (std::size_t i = 0; i < PeerLinks::most_peers; ++i) links.set_rate(std::to_string(i), 1);
  links.set_rate("one more", 1);
  EXPECT_EQ(links.rate("one more"), std::nullopt);
  const PeerLinks::Reader reader(links, "one more", one_chunk);
  links.give_way("one more", one_chunk);
  links.set_rate("0", 2);
  EXPECT_EQ(links.rate("0"), 2);
}

}  // namespace
}  // namespace icbd::wire
