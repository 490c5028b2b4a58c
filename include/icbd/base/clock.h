// Time, injected: so that tests decide what time it is.
//
// Thread-safe. now() is monotonic and for durations; wall() is for people and catalogs.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "icbd/base/types.h"

namespace icbd {

class Clock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual Timestamp wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  TimePoint now() const override;
  Timestamp wall() const override;
};

// Stands still until a test moves it.
class ManualClock final : public Clock {
 public:
  TimePoint now() const override;
  Timestamp wall() const override;
  void advance(Duration duration);

 private:
  mutable std::mutex mutex_;
  Duration elapsed_{};
};

// "2026-11-20T13:45:00Z"
std::string format_utc(Timestamp timestamp);

}  // namespace icbd
