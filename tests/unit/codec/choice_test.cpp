// A sender, a link and a machine that are made up, on a clock that a test moves: what is chosen,
// and how soon.
#include "icbd/codec/choice.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "icbd/base/limits.h"
#include "icbd/codec/link_meter.h"

namespace icbd::codec {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr double megabyte = 1e6;
constexpr double fast_ethernet = 12.5 * megabyte;  // 100 Mb/s
constexpr double gigabit = 125 * megabyte;
constexpr double block_length = limits::chunk_size;

Setting setting(const char* text) {
  return parse_setting(text).value();
}

Clock::Duration seconds(double value) {
  return std::chrono::duration_cast<Clock::Duration>(std::chrono::duration<double>(value));
}

// What is true in the test's world, which the choice has to find out.
struct World {
  double link = fast_ethernet;
  double cores = 2;
  double disk = 1400 * megabyte;  // nothing is sent faster than it is read
  double processor = 1;           // times the speeds that the guesses were made of
  // How well block `number` packs, as a factor to what is guessed: 0 is not at all.
  std::function<double(std::uint64_t number)> compressibility = [](std::uint64_t) { return 1.0; };
  std::function<double(Setting)> better_than_guessed = [](Setting) { return 1.0; };
};

// Sends blocks through the world, each as the choice says.
class Sender {
 public:
  explicit Sender(World world_) : world(std::move(world_)) { choice.set_cores(world.cores, 2); }

  void send(int blocks) {
    for (int i = 0; i < blocks; ++i) send_one();
  }
  // Until `text` is chosen; how many blocks that took, at most `blocks_max`.
  int send_until(const char* text, int blocks_max) {
    int sent = 0;
    for (; sent < blocks_max && choice.chosen() != setting(text); ++sent) send_one();
    return sent;
  }

  World world;
  ManualClock clock;
  LinkMeter meter{clock};
  Choice choice;
  int changes = 0;
  int blocks_packed = 0;  // samples too
  std::set<std::string> used;

 private:
  Packed pack(Setting with) {
    Packed block{.plain = limits::chunk_size, .packed = limits::chunk_size, .time = {}};
    if (with == Setting{}) return block;
    ++blocks_packed;
    for (const Candidate& candidate : default_candidates()) {
      if (candidate.setting != with) continue;
      const double saving = (1 - candidate.guess.ratio) * world.compressibility(number_) *
                            world.better_than_guessed(with);
      if (saving >= 1.0 / 16)
        block.packed = static_cast<std::uint64_t>(block_length * (1 - std::min(saving, 0.99)));
      block.time = seconds(block_length / (candidate.guess.packing * world.processor));
    }
    return block;
  }

  void send_one() {
    const Choice::Plan plan = choice.plan();
    ++number_;
    used.insert(to_string(plan.setting));
    const Packed block = pack(plan.setting);
    const Packed sample = plan.sample ? pack(*plan.sample) : Packed{};
    choice.packed(plan, block, sample);
    const double own =
        std::max(std::chrono::duration<double>(block.time + sample.time).count() / world.cores,
                 block_length / world.disk);
    const double crossing = static_cast<double>(block.packed) / world.link;
    clock.advance(seconds(std::max(own, crossing)));
    meter.sent(block.packed, seconds(std::max(0.0, crossing - own)));
    choice.set_link(meter.bytes_per_second());
    if (choice.chosen() != before_) ++changes;
    before_ = choice.chosen();
  }

  std::uint64_t number_ = 0;
  Setting before_;
};

TEST(Choice, BeginsWithNoneWhileNothingIsKnownOfTheLink) {
  Choice choice;
  EXPECT_EQ(choice.plan().setting, Setting{});
  EXPECT_EQ(choice.why(), "none: the link has not been the limit yet");
}

TEST(Choice, SaysWhatItChoseAndWhy) {
  Choice choice;
  choice.set_link(fast_ethernet);
  EXPECT_EQ(choice.plan().setting, setting("zstd:3"));
  EXPECT_EQ(choice.why(), "zstd:3: link 12.5 MB/s, packs to 0.49");
  choice.set_link(500 * megabyte);
  choice.set_cores(1, 1);
  for (int i = 0; i < 10; ++i) choice.plan();
  EXPECT_EQ(choice.why(), "lz4: link 500 MB/s, packs to 0.60; packing is the limit, at 597 MB/s");
  choice.set_link(2500 * megabyte);
  for (int i = 0; i < 10; ++i) choice.plan();
  EXPECT_EQ(choice.why(), "none: link 2500 MB/s; lz4 would reach 597 MB/s");
}

TEST(Choice, AFastLinkIsNotPackedFor) {
  Sender sender({.link = 2500 * megabyte});
  sender.send(20'000);
  EXPECT_EQ(sender.choice.chosen(), Setting{}) << sender.choice.why();
  EXPECT_EQ(sender.changes, 0);
  EXPECT_EQ(sender.blocks_packed, 0);
}

TEST(Choice, AFastLinkThatIsTheLimitIsNotPackedForEither) {
  Sender sender({.link = 2500 * megabyte, .disk = 5000 * megabyte});
  sender.send(20'000);
  EXPECT_EQ(sender.choice.chosen(), Setting{}) << sender.choice.why();
  EXPECT_EQ(sender.changes, 0);
}

TEST(Choice, OnASlowLinkItPacksWellAfterTheFirstMeasurement) {
  Sender sender({.link = fast_ethernet});
  sender.send(40);
  EXPECT_EQ(sender.choice.chosen(), setting("zstd:3")) << sender.choice.why();
  sender.send(5'000);
  EXPECT_EQ(sender.choice.chosen(), setting("zstd:3")) << sender.choice.why();
  EXPECT_EQ(sender.changes, 1);
}

TEST(Choice, ManyCoresPackBetterOnTheSameLink) {
  Choice choice;
  choice.set_link(600 * megabyte);
  choice.set_cores(2, 8);
  choice.plan();
  const double few = choice.expected(choice.chosen()).ratio;
  Choice more;
  more.set_link(600 * megabyte);
  more.set_cores(8, 8);
  more.plan();
  EXPECT_LT(more.expected(more.chosen()).ratio, few);
}

TEST(Choice, OneSlowCoreOnTheOtherEndIsTakenIntoAccount) {
  Choice choice;
  choice.set_link(gigabit);
  choice.set_cores(4, 1);
  EXPECT_EQ(choice.plan().setting.algorithm, Algorithm::zstd);
  for (int i = 0; i < 40; ++i) {
    for (const Candidate& candidate : default_candidates()) {
      const double speed = candidate.setting.algorithm == Algorithm::zstd ? 130 : 1000;
      choice.unpacked(candidate.setting, 1'000'000, seconds(1 / speed));
    }
    choice.plan();
  }
  EXPECT_EQ(choice.chosen(), setting("lz4")) << choice.why();
}

TEST(Choice, WhatDoesNotPackIsSentPlainAndHardlyTried) {
  Sender sender({.compressibility = [](std::uint64_t) { return 0.0; }});
  sender.send(100);
  EXPECT_EQ(sender.choice.chosen(), Setting{});
  EXPECT_EQ(sender.choice.why(), "none: the data do not pack");
  sender.send(10'000);
  EXPECT_EQ(sender.choice.chosen(), Setting{});
  // Eight in a row, and then one in 256 or so.
  EXPECT_LT(sender.blocks_packed, 70);
}

TEST(Choice, AStretchThatDoesNotPackIsLeftBehind) {
  for (const int stretch : {50, 500, 5'000}) {
    Sender sender({});
    sender.send(1'000);
    ASSERT_EQ(sender.choice.chosen(), setting("zstd:3"));
    sender.world.compressibility = [](std::uint64_t) { return 0.0; };
    sender.send(stretch);
    ASSERT_EQ(sender.choice.chosen(), Setting{});
    sender.world.compressibility = [](std::uint64_t) { return 1.0; };
    EXPECT_LE(sender.send_until("zstd:3", 2'000), 260) << "after " << stretch;
  }
}

TEST(Choice, SomeBlocksThatDoNotPackAreNoStretch) {
  Sender sender(
      {.compressibility = [](std::uint64_t number) { return number % 3 == 0 ? 0.0 : 1.0; }});
  sender.send(5'000);
  EXPECT_EQ(sender.choice.chosen().algorithm, Algorithm::zstd) << sender.choice.why();
  EXPECT_LE(sender.changes, 2);
}

TEST(Choice, ALinkThatChangesIsFollowedWithinSixteenBlocks) {
  Choice choice;
  const auto follow = [&](double link) {
    choice.set_link(link);
    for (int i = 0; i < 16; ++i)
      choice.packed(choice.plan(), {.plain = 100, .packed = 49, .time = seconds(100 / 325e6)});
    return to_string(choice.chosen());
  };
  choice.set_cores(2, 2);
  EXPECT_EQ(follow(fast_ethernet), "zstd:3");
  EXPECT_EQ(follow(5000 * megabyte), "none");
  EXPECT_EQ(follow(fast_ethernet), "zstd:3");
  EXPECT_THAT(follow(600 * megabyte), AnyOf("lz4", "zstd:-1", "zstd:1"));
}

// The meter sees it first: a link that got slow at once, one that got fast only as what is sent
// does not fill it any more.
TEST(Choice, ALinkThatChangesUnderASenderIsFollowedWithinSeconds) {
  Sender sender({.link = fast_ethernet});
  sender.send(1'000);
  ASSERT_EQ(sender.choice.chosen(), setting("zstd:3"));
  for (int round = 0; round < 3; ++round) {
    sender.world.link = 5000 * megabyte;
    auto begin = sender.clock.now();
    sender.send_until("none", 100'000);
    EXPECT_LT(sender.clock.now() - begin, seconds(5)) << sender.choice.why();
    sender.world.link = fast_ethernet;
    begin = sender.clock.now();
    sender.send_until("zstd:3", 100'000);
    EXPECT_LT(sender.clock.now() - begin, seconds(2)) << sender.choice.why();
  }
}

TEST(Choice, DoesNotFlapWhereTwoSettingsAreAsGood) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::uniform_real_distribution noise(0.9, 1.1);
  Choice choice;
  choice.set_cores(2, 8);
  const double breaks_even = 2 * choice.expected(setting("lz4")).packing;
  int changes = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Setting before = choice.chosen();
    choice.set_link(breaks_even * noise(random));
    const Choice::Plan plan = choice.plan();
    const auto packed = static_cast<std::uint64_t>(60'300 * noise(random));
    const Clock::Duration time = seconds(1e5 / (breaks_even / 2) * noise(random));
    choice.packed(plan, {.plain = 100'000, .packed = packed, .time = time});
    if (choice.chosen() != before) ++changes;
  }
  EXPECT_LE(changes, 1) << choice.why();
}

TEST(Choice, DoesNotFlapOnAnyLink) {
  for (double link = 1 * megabyte; link < 5000 * megabyte; link *= 1.3) {
    Sender sender({.link = link, .disk = 1e12});
    // The meter tries now and then whether the link has become faster, less and less often.
    sender.send(20'000);
    EXPECT_LE(sender.changes, 12) << link / megabyte << " MB/s: " << sender.choice.why();
  }
}

TEST(Choice, ReachesNineTenthsOfTheBestThatOneSettingCouldDo) {
  for (double link = 2 * megabyte; link < 3000 * megabyte; link *= 2) {
    double best = 0;
    for (const Candidate& candidate : default_candidates())
      best = std::max(best, std::min({link / candidate.guess.ratio, 2 * candidate.guess.packing,
                                      2 * candidate.guess.unpacking}));
    Sender sender({.link = link, .disk = 1e12});
    const int blocks = 20'000;
    sender.send(blocks);
    const double took =
        std::chrono::duration<double>(sender.clock.now() - Clock::TimePoint{}).count();
    EXPECT_GT(blocks * block_length / took, 0.9 * best)
        << link / megabyte << " MB/s: " << sender.choice.why();
  }
}

TEST(Choice, WrongGuessesAreFoundOutBySamples) {
  // Here zstd:6 packs far better than anybody would have guessed.
  Sender sender({.better_than_guessed = [](Setting candidate) {
    return candidate == setting("zstd:6") ? 1.5 : 1.0;
  }});
  EXPECT_LT(sender.send_until("zstd:6", 10'000), 3'000) << sender.choice.why();
  sender.send(5'000);
  EXPECT_EQ(sender.choice.chosen(), setting("zstd:6")) << sender.choice.why();
  EXPECT_LT(sender.choice.expected(setting("zstd:6")).ratio, 0.35);
}

TEST(Choice, ASlowProcessorIsFoundOutByPacking) {
  Sender sender({.link = gigabit, .cores = 1, .processor = 0.25});
  sender.send(500);
  // zstd:3 would pack 81 MB/s; what the link carries plain is more.
  EXPECT_NE(sender.choice.chosen(), setting("zstd:3")) << sender.choice.why();
  const double reached = std::min(gigabit / sender.choice.expected(sender.choice.chosen()).ratio,
                                  sender.choice.expected(sender.choice.chosen()).packing);
  EXPECT_GT(reached, 0.95 * gigabit) << sender.choice.why();
}

TEST(Choice, SamplesAreFew) {
  Sender sender({});
  int samples = 0;
  for (int i = 0; i < 6'400; ++i) {
    const Choice::Plan plan = sender.choice.plan();
    if (plan.sample) ++samples;
    sender.choice.set_link(fast_ethernet);
    sender.choice.packed(
        plan, {.plain = 100, .packed = 50, .time = seconds(1e-7)},
        plan.sample ? Packed{.plain = 100, .packed = 50, .time = seconds(1e-7)} : Packed{});
  }
  EXPECT_GT(samples, 50);
  EXPECT_LE(samples, 100);
}

}  // namespace
}  // namespace icbd::codec
