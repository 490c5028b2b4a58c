// How fast bulk may be sent so that no queue builds up before the link.
//
// Purpose: TCP by itself fills whatever buffer lies before the slowest link, and a reader's bytes
// then wait behind seconds of bulk. The round trip tells how long that queue is: what it takes
// above the shortest one seen. Where the buffer is too short for that, what has to be sent again
// tells. While the queue is short, the rate grows by a twentieth; when it is not, the rate goes a
// tenth below the most that was acknowledged of late, until it has drained. (Of late, and not now:
// once it is paced, the link delivers what it is given. Acknowledged from one look to the next, and
// not the kernel's own rate: that is of a moment, and bursts pass a link's buffer at any speed.)
// Acknowledgements are late, too, where a processor or a disk of the peer is busy. But then what
// the kernel sees delivered from moment to moment is far more than what is acknowledged over time,
// and nothing is limited unless something is lost. Guarantees: pure; looks at no clock. Until a
// queue is seen, nothing is limited. Samples in which the sender itself was the slow one limit
// nothing. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "icbd/base/clock.h"

namespace icbd::wire {

// What the kernel knows of a connection (struct tcp_info in linux/tcp.h).
struct LinkSample {
  std::chrono::microseconds round_trip{};
  std::chrono::microseconds shortest_round_trip{};
  std::uint64_t delivered_per_second = 0;  // bytes, in the last round trip or so
  bool sender_limited = false;             // the sender had nothing to send in between
  // Since the connection was made; bytes.
  std::uint64_t acknowledged = 0;
  std::uint64_t sent_again = 0;
};

class Pacer {
 public:
  // True if it is time to look again.
  bool is_due(Clock::TimePoint now) const { return now >= due_; }
  // The limit from now on in bytes per second; none: no limit.
  std::optional<std::uint64_t> update(Clock::TimePoint now, const LinkSample& sample);

 private:
  void note_delivered(Clock::TimePoint now, double rate);
  void note_moment(const LinkSample& sample);
  bool peer_is_busy() const;

  Clock::TimePoint due_{};
  std::optional<double> rate_;
  struct Seen {
    Clock::TimePoint at;
    std::uint64_t acknowledged = 0;
    std::uint64_t sent_again = 0;
  };
  std::optional<Seen> seen_;  // at the last look
  // The most that was delivered in this stretch of time, and in the one before.
  double most_now_ = 0;
  double most_before_ = 0;
  Clock::TimePoint stretch_ends_{};
  // The last few rates that the kernel has seen, each as a multiple of what was acknowledged.
  std::deque<double> moments_;
};

}  // namespace icbd::wire
