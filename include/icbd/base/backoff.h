// How long to wait before the next attempt.
//
// Purpose: doubles from `shortest` to `longest`, each wait chosen anew between its half and its
// whole, so that hundreds of caches which lost one master at the same moment do not come back at
// the same moment. reset() after a success.
// Not thread-safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>

namespace icbd {

class Backoff {
 public:
  using Duration = std::chrono::milliseconds;

  Backoff(Duration shortest, Duration longest, std::uint64_t seed = std::random_device{}())
      : shortest_(shortest), longest_(longest), step_(shortest), random_(seed) {}

  Duration next() {
    std::uniform_int_distribution<Duration::rep> choose(step_.count() / 2, step_.count());
    step_ = std::min(step_ * 2, longest_);
    return Duration(choose(random_));
  }
  void reset() { step_ = shortest_; }

 private:
  Duration shortest_;
  Duration longest_;
  Duration step_;
  std::mt19937_64 random_;
};

}  // namespace icbd
