#include "plain_queue.h"

#include <fmt/format.h>

#include "icbd/base/file.h"

namespace icbd::uring {

Status PlainQueue::register_buffers(std::span<const std::span<std::byte>> /*buffers*/) {
  return fail(ErrorCode::unsupported, "buffers are registered with io_uring only");
}

Status PlainQueue::begin(Token token, const Read& read) {
  if (waiting_.size() >= capacity_)
    return fail(ErrorCode::busy, fmt::format("{} reads are under way already", waiting_.size()));
  waiting_.push_back({token, read});
  return {};
}

Result<std::optional<Completion>> PlainQueue::wait(std::chrono::milliseconds timeout) {
  if (!waiting_.empty()) {
    const Waiting next = waiting_.front();
    waiting_.pop_front();
    return Completion{next.token, read_at(next.read.fd, next.read.buffer, next.read.offset)};
  }
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return woken_; });
  woken_ = false;
  return std::nullopt;
}

void PlainQueue::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_one();
}

}  // namespace icbd::uring
