// A queue that does what a kernel may do on a bad day: reads complete late, in another order, in
// part, or with an error.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>

#include "icbd/base/file.h"
#include "icbd/uring/queue.h"

namespace icbd::uring {

class FakeQueue final : public Queue {
 public:
  struct Faults {
    double short_reads = 0;  // share of reads that give less than was asked for
    double errors = 0;       // share that fail with EIO
    bool reordered = true;
  };
  FakeQueue(std::uint64_t seed, Faults faults, std::size_t capacity = 8)
      : random_(seed), faults_(faults), capacity_(capacity) {}

  Status register_buffers(std::span<const std::span<std::byte>> /*buffers*/) override {
    return fail(ErrorCode::unsupported, "no registered buffers here");
  }
  Status begin(Token token, const Read& read) override {
    if (waiting_.size() >= capacity_) return fail(ErrorCode::busy, "full");
    waiting_.push_back({token, read});
    most_under_way_ = std::max(most_under_way_, waiting_.size());
    return {};
  }
  std::size_t under_way() const override { return waiting_.size(); }
  std::size_t capacity() const override { return capacity_; }
  Result<std::optional<Completion>> wait(std::chrono::milliseconds timeout) override {
    if (waiting_.empty()) {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, timeout, [&] { return woken_; });
      woken_ = false;
      return std::nullopt;
    }
    const std::size_t at = faults_.reordered ? std::uniform_int_distribution<std::size_t>(
                                                   0, waiting_.size() - 1)(random_)
                                             : 0;
    auto [token, read] = waiting_[at];
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(at));
    if (chance(faults_.errors)) return Completion{token, fail_errno("read", EIO)};
    constexpr std::size_t sector = 4096;
    if (chance(faults_.short_reads) && read.buffer.size() > sector)
      read.buffer = read.buffer.first(read.buffer.size() / 2 / sector * sector + sector);
    return Completion{token, read_at(read.fd, read.buffer, read.offset)};
  }
  void wake() override {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }
  std::string_view description() const override { return "fake"; }
  std::size_t most_under_way() const { return most_under_way_; }

 private:
  struct Waiting {
    Token token;
    Read read;
  };
  bool chance(double share) {
    return std::uniform_real_distribution<double>(0, 1)(random_) < share;
  }

  std::mt19937_64 random_;
  const Faults faults_;
  const std::size_t capacity_;
  std::deque<Waiting> waiting_;
  std::size_t most_under_way_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

}  // namespace icbd::uring
