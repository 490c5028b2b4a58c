#include "pace.h"

#include <algorithm>

namespace icbd::wire {
namespace {

using namespace std::chrono_literals;

// A queue that a reader does not feel; on a long link, a part of what it waits for anyway.
constexpr std::chrono::microseconds short_queue = 5ms;
constexpr int long_link_share = 8;
constexpr double drain = 0.9;
constexpr double growth = 1.05;
// A limit far above what is sent says nothing about the link.
constexpr double most_headroom = 2;
constexpr double slowest = 16 * 1024;
constexpr std::chrono::microseconds shortest_interval = 50ms;

}  // namespace

std::optional<std::uint64_t> Pacer::update(Clock::TimePoint now, const LinkSample& sample) {
  // A new rate shows in the round trip after one round trip.
  due_ = now + std::max(shortest_interval, sample.round_trip);
  const auto queue = sample.round_trip - sample.shortest_round_trip;
  const auto allowed = std::max(short_queue, sample.shortest_round_trip / long_link_share);
  const auto delivered = static_cast<double>(sample.delivered_per_second);
  if (queue > allowed && !sample.sender_limited && delivered > 0)
    rate_ = std::max(slowest, delivered * drain);
  else if (rate_ && queue <= allowed)
    rate_ = std::min(*rate_ * growth, std::max(*rate_, delivered * most_headroom));
  if (!rate_) return std::nullopt;
  return static_cast<std::uint64_t>(*rate_);
}

}  // namespace icbd::wire
