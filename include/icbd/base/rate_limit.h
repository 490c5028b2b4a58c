// So many bytes a second, on average.
//
// Purpose: whoever moves bytes in the background asks after each piece how long to pause. What is
// left unused is saved up for a quarter of a second, so that pauses are few and short.
// Thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "icbd/base/clock.h"

namespace icbd {

class RateLimit {
 public:
  // 0: no limit. The clock must outlive it.
  RateLimit(const Clock& clock, std::uint64_t bytes_per_second)
      : clock_(clock), bytes_per_second_(bytes_per_second), free_at_(clock.now() - saved_up) {}

  void set(std::uint64_t bytes_per_second) {
    const std::lock_guard lock(mutex_);
    bytes_per_second_ = bytes_per_second;
    free_at_ = clock_.now() - saved_up;
  }

  // So many bytes were moved; returns how long to wait before the next ones.
  Clock::Duration take(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes_per_second_ == 0) return Clock::Duration::zero();
    const auto now = clock_.now();
    const std::chrono::duration<double> cost(static_cast<double>(bytes) /
                                             static_cast<double>(bytes_per_second_));
    free_at_ =
        std::max(free_at_, now - saved_up) + std::chrono::duration_cast<Clock::Duration>(cost);
    return std::max(free_at_ - now, Clock::Duration::zero());
  }

 private:
  static constexpr std::chrono::milliseconds saved_up{250};

  const Clock& clock_;
  std::mutex mutex_;  // guards what is below
  std::uint64_t bytes_per_second_;
  Clock::TimePoint free_at_;  // when what was moved is paid for
};

}  // namespace icbd
