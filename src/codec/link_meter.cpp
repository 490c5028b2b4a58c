#include "icbd/codec/link_meter.h"

#include <algorithm>

namespace icbd::codec {
namespace {

using namespace std::chrono_literals;

// Long enough for what a socket buffers to be small beside it.
constexpr Clock::Duration window = 200ms;
// Of a window: from here on it was the link that decided how much was sent. Little, because who
// waits at all finds the socket full: the link was busy all the time.
constexpr double waiting_share = 0.05;
constexpr double growth = 1.25;
// A measurement this far below the estimate says that it had grown too far.
constexpr double refuted_below = 0.9;
constexpr Clock::Duration hold_first = 1s;
constexpr Clock::Duration hold_last = 60s;

double seconds_of(Clock::Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void LinkMeter::sent(std::uint64_t bytes, Clock::Duration waited) {
  bytes_ += bytes;
  waited_ += waited;
  const Clock::Duration elapsed = clock_.now() - window_begin_;
  if (elapsed < window) return;
  end_window(seconds_of(elapsed), seconds_of(waited_));
  idle();
}

void LinkMeter::idle() {
  window_begin_ = clock_.now();
  bytes_ = 0;
  waited_ = {};
}

void LinkMeter::end_window(double seconds, double waited_seconds) {
  const double rate = static_cast<double>(bytes_) / seconds;
  if (waited_seconds >= waiting_share * seconds) {
    measured(rate);
  } else {
    grow(rate);
  }
}

void LinkMeter::measured(double rate) {
  if (estimate_ && grown_ && rate < refuted_below * *estimate_) {
    hold_ = std::clamp(2 * hold_, hold_first, hold_last);
    may_grow_at_ = clock_.now() + hold_;
    estimate_ = rate;
  } else {
    if (grown_) hold_ = {};
    estimate_ = estimate_ ? (*estimate_ + rate) / 2 : rate;
  }
  grown_ = false;
}

void LinkMeter::grow(double rate) {
  if (!estimate_) return;
  if (rate > *estimate_) estimate_ = rate;
  if (clock_.now() < may_grow_at_) return;
  estimate_ = *estimate_ * growth;
  grown_ = true;
}

}  // namespace icbd::codec
