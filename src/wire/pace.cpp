#include "pace.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace icbd::wire {
namespace {

using namespace std::chrono_literals;

// A queue that a reader does not feel; on a long link, a part of what it waits for anyway.
constexpr std::chrono::microseconds short_queue = 5ms;
constexpr int long_link_share = 8;
constexpr double drain = 0.9;
constexpr double growth = 1.05;
// Of what is sent: more is no accident.
constexpr double lost_share = 0.05;
// A limit far above what is sent says nothing about the link.
constexpr double most_headroom = 2;
constexpr double slowest = 16 * 1024;
constexpr std::chrono::microseconds shortest_interval = 50ms;
// A link that has become slower is believed after twice this.
constexpr auto memory = 1500ms;
// Single bursts pass the buffer of a link at any speed; half of so many looks at it do not.
constexpr std::size_t moments_remembered = 7;
constexpr double faster_than_a_link = 4;

}  // namespace

void Pacer::note_delivered(Clock::TimePoint now, double rate) {
  if (now >= stretch_ends_) {
    most_before_ = std::exchange(most_now_, 0);
    stretch_ends_ = now + memory;
  }
  most_now_ = std::max(most_now_, rate);
}

void Pacer::note_moment(const LinkSample& sample) {
  if (sample.sender_limited) return;
  // Beside what was acknowledged then: a link may have become slower since.
  const double most = std::max({most_now_, most_before_, slowest});
  moments_.push_back(static_cast<double>(sample.delivered_per_second) / most);
  if (moments_.size() > moments_remembered) moments_.pop_front();
}

bool Pacer::peer_is_busy() const {
  if (moments_.size() < moments_remembered) return false;
  std::vector<double> ordered(moments_.begin(), moments_.end());
  const auto middle = ordered.begin() + moments_remembered / 2;
  std::ranges::nth_element(ordered, middle);
  return *middle > faster_than_a_link;
}

std::optional<std::uint64_t> Pacer::update(Clock::TimePoint now, const LinkSample& sample) {
  // A new rate shows in the round trip after one round trip.
  due_ = now + std::max(shortest_interval, sample.round_trip);
  const auto before = std::exchange(
      seen_, Seen{.at = now, .acknowledged = sample.acknowledged, .sent_again = sample.sent_again});
  if (before && now > before->at) {
    const std::chrono::duration<double> time = now - before->at;
    const auto acknowledged = static_cast<double>(sample.acknowledged - before->acknowledged);
    const auto sent_again = static_cast<double>(sample.sent_again - before->sent_again);
    const double delivered = acknowledged / time.count();
    note_delivered(now, delivered);
    note_moment(sample);
    const auto queue = sample.round_trip - sample.shortest_round_trip;
    const auto allowed = std::max(short_queue, sample.shortest_round_trip / long_link_share);
    const bool is_queueing = queue > allowed && !sample.sender_limited;
    const bool is_losing = sent_again > lost_share * (acknowledged + sent_again);
    if (!is_losing && peer_is_busy())
      rate_.reset();
    else if ((is_queueing || is_losing) && delivered > 0)
      rate_ = std::max(slowest, std::max(most_now_, most_before_) * drain);
    else if (rate_ && queue <= allowed)
      rate_ = std::min(*rate_ * growth, std::max(*rate_, delivered * most_headroom));
  }
  if (!rate_) return std::nullopt;
  return static_cast<std::uint64_t>(*rate_);
}

}  // namespace icbd::wire
