// How fast a link is, seen from the side that sends.
//
// Purpose: what Choice::set_link() wants to know, which is not how much was sent: a sender that is
// slow itself would take its own speed for the link's, and go on packing for a link that is fast.
// So only time in which the sender had to wait for the link counts as a measurement; while it does
// not wait, the estimate grows, a quarter per window, as what has been sent is only what the link
// can do at least. A growth that turns out wrong is tried again later and later, up to a minute.
// The socket has to buffer more than one block, so that the link goes on while the next is packed.
// Not thread-safe. The clock must outlive it.
#pragma once

#include <cstdint>
#include <optional>

#include "icbd/base/clock.h"

namespace icbd::codec {

class LinkMeter {
 public:
  explicit LinkMeter(const Clock& clock) : clock_(clock), window_begin_(clock.now()) {}

  // So many bytes were handed to the link, which made the sender wait so long for it.
  void sent(std::uint64_t bytes, Clock::Duration waited);
  // Nothing was there to send: this time says nothing about the link. The window begins anew.
  void idle();

  // None until the sender has had to wait for the link.
  std::optional<double> bytes_per_second() const { return estimate_; }

 private:
  void end_window(double seconds, double waited_seconds);
  void measured(double rate);
  void grow(double rate);

  const Clock& clock_;
  Clock::TimePoint window_begin_;
  std::uint64_t bytes_ = 0;
  Clock::Duration waited_{};
  std::optional<double> estimate_;
  bool grown_ = false;  // the estimate is more than what was measured
  Clock::TimePoint may_grow_at_{};
  Clock::Duration hold_{};  // how long a wrong growth keeps it from growing; 0: none was wrong
};

}  // namespace icbd::codec
