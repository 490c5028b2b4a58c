// How many files and directories of each version are open.
//
// A Held counts from its construction to its destruction. Thread-safe; the counts outlive every
// Held.
#pragma once

#include <mutex>
#include <unordered_map>

#include "icbd/base/types.h"

namespace icbd::fs {

class HandleCounts {
 public:
  class Held {
   public:
    Held() = default;
    Held(HandleCounts& counts, VersionSerial serial) : counts_(&counts), serial_(serial) {
      const std::lock_guard lock(counts.mutex_);
      ++counts.open_[serial];
    }
    ~Held() {
      if (counts_ == nullptr) return;
      const std::lock_guard lock(counts_->mutex_);
      const auto count = counts_->open_.find(serial_);
      if (--count->second == 0) counts_->open_.erase(count);
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

   private:
    HandleCounts* counts_ = nullptr;
    VersionSerial serial_;
  };

  std::size_t of(VersionSerial serial) const {
    const std::lock_guard lock(mutex_);
    const auto count = open_.find(serial);
    return count == open_.end() ? 0 : count->second;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<VersionSerial, std::size_t> open_;
};

}  // namespace icbd::fs
