// When each version was last looked into. Thread-safe.
#pragma once

#include <chrono>
#include <mutex>
#include <unordered_map>

#include "icbd/base/types.h"

namespace icbd::fs {

class RecentUse {
 public:
  using Clock = std::chrono::steady_clock;

  void note(VersionSerial serial) {
    const std::lock_guard lock(mutex_);
    last_[serial] = Clock::now();
  }
  // A long time if never.
  Clock::duration quiet_for(VersionSerial serial) const {
    const std::lock_guard lock(mutex_);
    const auto found = last_.find(serial);
    return found == last_.end() ? Clock::now().time_since_epoch() : Clock::now() - found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<VersionSerial, Clock::time_point> last_;
};

}  // namespace icbd::fs
