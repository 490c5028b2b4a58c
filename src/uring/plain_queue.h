// Where there is no ring: each read is done by the thread that waits for it.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "icbd/uring/queue.h"

namespace icbd::uring {

class PlainQueue final : public Queue {
 public:
  PlainQueue(const QueueOptions& options, std::string why)
      : capacity_(options.capacity), description_("read(2): " + std::move(why)) {}

  Status register_buffers(std::span<const std::span<std::byte>> buffers) override;
  Status begin(Token token, const Read& read) override;
  std::size_t under_way() const override { return waiting_.size(); }
  std::size_t capacity() const override { return capacity_; }
  Result<std::optional<Completion>> wait(std::chrono::milliseconds timeout) override;
  void wake() override;
  std::string_view description() const override { return description_; }

 private:
  struct Waiting {
    Token token;
    Read read;
  };
  const std::size_t capacity_;
  const std::string description_;
  std::deque<Waiting> waiting_;  // of the thread that uses the queue
  std::mutex mutex_;             // guards woken_
  std::condition_variable changed_;
  bool woken_ = false;
};

}  // namespace icbd::uring
