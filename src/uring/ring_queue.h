// A ring of the kernel's.
#pragma once

#include <liburing.h>

#include <string>

#include "icbd/base/unique_fd.h"
#include "icbd/uring/queue.h"

namespace icbd::uring {

class RingQueue final : public Queue {
 public:
  // `unsupported` if this process may have no ring.
  static Result<std::unique_ptr<Queue>> make(const QueueOptions& options);
  ~RingQueue() override;
  RingQueue(const RingQueue&) = delete;
  RingQueue& operator=(const RingQueue&) = delete;

  Status register_buffers(std::span<const std::span<std::byte>> buffers) override;
  Status begin(Token token, const Read& read) override;
  std::size_t under_way() const override { return under_way_; }
  std::size_t capacity() const override { return options_.capacity; }
  Result<std::optional<Completion>> wait(std::chrono::milliseconds timeout) override;
  void wake() override;
  std::string_view description() const override { return description_; }

 private:
  RingQueue(const QueueOptions& options, unique_fd wake_event);
  Status set_up();
  Status enable();
  io_uring_sqe* next_entry();
  void listen_for_wake();
  Result<std::optional<Completion>> take(bool& woken);
  void cancel_all();

  const QueueOptions options_;
  unique_fd wake_event_;
  std::uint64_t wake_count_ = 0;  // read into by the kernel
  io_uring ring_{};
  bool made_ = false;
  bool enabled_ = false;
  bool listening_ = false;
  std::size_t under_way_ = 0;
  std::string description_;
};

}  // namespace icbd::uring
