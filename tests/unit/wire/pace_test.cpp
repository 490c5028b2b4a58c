#include "pace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace icbd::wire {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;

// A link with a buffer before it, and a sender that sends as fast as it may. What the buffer cannot
// hold is sent again.
class Link {
 public:
  Link(double bytes_per_second, microseconds round_trip, double sender, double buffer = 4e6)
      : link_(bytes_per_second), round_trip_(round_trip), sender_(sender), buffer_(buffer) {}

  // Lets time pass, in steps of a millisecond, and looks at the connection when it is due.
  void run(Pacer& pacer, std::chrono::milliseconds time) {
    for (auto end = now_ + time; now_ < end; now_ += 1ms) {
      const double rate = std::min(sender_, limit_.value_or(sender_));
      const double delivered = std::min(link_, queue_ / 0.001 + rate);
      queue_ = std::max(0.0, queue_ + (rate - link_) * 0.001);
      lost_ += std::max(0.0, queue_ - buffer_);
      queue_ = std::min(buffer_, queue_);
      delivered_ += delivered * 0.001;
      acknowledged_ += delivered * 0.001;
      if (!pacer.is_due(now_)) continue;
      const auto rate_limit =
          pacer.update(now_, {.round_trip = round_trip_ + queueing(),
                              .shortest_round_trip = round_trip_,
                              .delivered_per_second = moment(),
                              .sender_limited = queue_ == 0 && !limit_,
                              .acknowledged = static_cast<std::uint64_t>(acknowledged_),
                              .sent_again = static_cast<std::uint64_t>(lost_)});
      limit_.reset();
      if (rate_limit) limit_ = static_cast<double>(*rate_limit);
    }
  }
  microseconds queueing() const {
    return std::chrono::duration_cast<microseconds>(std::chrono::duration<double>(queue_ / link_));
  }
  double take_delivered() { return std::exchange(delivered_, 0); }
  double take_lost() { return lost_ - std::exchange(lost_taken_, lost_); }
  bool is_limited() const { return limit_.has_value(); }
  void set_rate(double bytes_per_second) { link_ = bytes_per_second; }

 private:
  // Every third look sees a burst that passed the buffer just now.
  std::uint64_t moment() {
    return static_cast<std::uint64_t>(++looks_ % 3 == 0 ? 100 * link_ : link_);
  }

  std::uint64_t looks_ = 0;
  double link_;
  const microseconds round_trip_;
  const double sender_;
  const double buffer_;
  double acknowledged_ = 0;
  double lost_ = 0;
  double lost_taken_ = 0;
  double queue_ = 0;
  double delivered_ = 0;
  std::optional<double> limit_;
  Clock::TimePoint now_{1h};
};

TEST(PacerTest, ALinkFasterThanItsSenderIsNotLimited) {
  Pacer pacer;
  Link link(1e9, 200us, 5e8);
  link.run(pacer, 5s);
  EXPECT_FALSE(link.is_limited());
}

// Of 10, 100 and 1000 Mb/s, near and far.
TEST(PacerTest, TheQueueStaysShortAndTheLinkFull) {
  for (const double rate : {1.25e6, 12.5e6, 125e6})
    for (const microseconds round_trip : {1ms, 20ms, 100ms}) {
      SCOPED_TRACE(std::to_string(rate) + " B/s, " + std::to_string(round_trip.count()) + " us");
      Pacer pacer;
      Link link(rate, round_trip, 2e9);
      link.run(pacer, 40s);  // what the buffer held at first has drained
      link.take_delivered();
      microseconds longest{};
      for (int i = 0; i < 1000; ++i) {
        link.run(pacer, 10ms);
        longest = std::max(longest, link.queueing());
      }
      EXPECT_GE(link.take_delivered() / 10, 0.9 * rate);
      EXPECT_LE(longest, 30ms);
    }
}

// Too short for its delay to be seen.
TEST(PacerTest, ABufferOfAMomentLosesLittleAndTheLinkStaysFull) {
  constexpr double rate = 12.5e6;
  Pacer pacer;
  Link link(rate, 1ms, 2e9, rate * 0.004);
  link.run(pacer, 10s);
  link.take_delivered();
  link.take_lost();
  link.run(pacer, 10s);
  const double delivered = link.take_delivered();
  EXPECT_GE(delivered / 10, 0.9 * rate);
  EXPECT_LE(link.take_lost(), 0.03 * delivered);
}

TEST(PacerTest, FollowsALinkThatBecomesSlowerAndFaster) {
  Pacer pacer;
  Link link(12.5e6, 10ms, 2e9);
  link.run(pacer, 10s);
  link.set_rate(2.5e6);
  link.run(pacer, 20s);
  EXPECT_LE(link.queueing(), 60ms);
  link.set_rate(12.5e6);
  link.run(pacer, 10s);
  link.take_delivered();
  link.run(pacer, 10s);
  EXPECT_GE(link.take_delivered() / 10, 0.9 * 12.5e6);
}

TEST(PacerTest, ASlowSenderIsNotTakenForASlowLink) {
  Pacer pacer;
  // Late acknowledgements look like a queue.
  const LinkSample sample{.round_trip = 40ms,
                          .shortest_round_trip = 1ms,
                          .delivered_per_second = 1000,
                          .sender_limited = true};
  EXPECT_EQ(pacer.update(Clock::TimePoint(1h), sample), std::nullopt);
  EXPECT_EQ(pacer.update(Clock::TimePoint(1h) + 50ms, sample), std::nullopt);
}

// Looks at a connection whose acknowledgements come late, though no link holds them up: from moment
// to moment much more passes. 20 MB/s are acknowledged, and 50 ms lie between looks.
class BusyPeer {
 public:
  std::optional<std::uint64_t> look(Pacer& pacer, std::uint64_t moment) {
    now_ += 50ms;
    acknowledged_ += 1'000'000;
    return pacer.update(now_, {.round_trip = 12ms,
                               .shortest_round_trip = 100us,
                               .delivered_per_second = moment,
                               .acknowledged = acknowledged_,
                               .sent_again = sent_again_});
  }
  // What the last of ten looks allows, of which every third sees another moment than the others.
  std::optional<std::uint64_t> look_ten_times(Pacer& pacer, std::uint64_t moment,
                                              std::uint64_t every_third) {
    std::optional<std::uint64_t> limit;
    for (int i = 0; i < 10; ++i) limit = look(pacer, i % 3 == 0 ? every_third : moment);
    return limit;
  }
  void lose(std::uint64_t bytes) { sent_again_ += bytes; }

 private:
  Clock::TimePoint now_{1h};
  std::uint64_t acknowledged_ = 0;
  std::uint64_t sent_again_ = 0;
};

TEST(PacerTest, ABusyPeerIsNotTakenForASlowLink) {
  Pacer pacer;
  BusyPeer peer;
  EXPECT_EQ(peer.look_ten_times(pacer, 900'000'000, 15'000'000), std::nullopt);
  // What is lost, a link has lost.
  peer.lose(500'000);
  EXPECT_NE(peer.look(pacer, 900'000'000), std::nullopt);
}

TEST(PacerTest, SingleBurstsDoNotMakeALinkFast) {
  Pacer pacer;
  BusyPeer peer;
  EXPECT_NE(peer.look_ten_times(pacer, 20'000'000, 900'000'000), std::nullopt);
}

}  // namespace
}  // namespace icbd::wire
