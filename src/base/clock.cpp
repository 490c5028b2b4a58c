#include "icbd/base/clock.h"

#include <fmt/format.h>

#include <ctime>

namespace icbd {

Clock::TimePoint SystemClock::now() const {
  return std::chrono::steady_clock::now();
}

Timestamp SystemClock::wall() const {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec)};
}

Clock::TimePoint ManualClock::now() const {
  const std::lock_guard lock(mutex_);
  return TimePoint(elapsed_);
}

Timestamp ManualClock::wall() const {
  const std::lock_guard lock(mutex_);
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed_).count();
  return {nanoseconds / 1'000'000'000, static_cast<std::uint32_t>(nanoseconds % 1'000'000'000)};
}

void ManualClock::advance(Duration duration) {
  const std::lock_guard lock(mutex_);
  elapsed_ += duration;
}

std::string format_utc(Timestamp timestamp) {
  const std::time_t seconds = timestamp.seconds;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace icbd
