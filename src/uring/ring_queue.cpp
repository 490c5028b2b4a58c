#include "ring_queue.h"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "icbd/base/file.h"

namespace icbd::uring {
namespace {

constexpr Token wake_token = std::numeric_limits<Token>::max();
constexpr Token cancel_token = wake_token - 1;

// Linux 6.1 has both. The ring begins disabled because with SINGLE_ISSUER it belongs to the thread
// that enables it (io_uring_setup(2)).
constexpr unsigned deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

__kernel_timespec timespec_of(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(time - seconds).count()};
}

}  // namespace

RingQueue::RingQueue(const QueueOptions& options, unique_fd wake_event)
    : options_(options), wake_event_(std::move(wake_event)) {}

Result<std::unique_ptr<Queue>> RingQueue::make(const QueueOptions& options) {
  unique_fd wake_event(eventfd(0, EFD_CLOEXEC));
  if (!wake_event) return fail_errno("make an event for a ring");
  std::unique_ptr<RingQueue> queue(new RingQueue(options, std::move(wake_event)));
  ICBD_TRY(queue->set_up());
  return queue;
}

Status RingQueue::set_up() {
  // Beside the operations: the read of the wake event, and a cancellation.
  const unsigned entries = options_.capacity + 2;
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
  if (options_.deferred_completions) parameters.flags |= deferred;
  int made = io_uring_queue_init_params(entries, &ring_, &parameters);
  if (made == -EINVAL && options_.deferred_completions) {
    parameters = {};
    parameters.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
    made = io_uring_queue_init_params(entries, &ring_, &parameters);
  }
  if (made < 0)
    return fail(ErrorCode::unsupported, Error::from_errno("set up io_uring", -made).message());
  made_ = true;
  description_ = (parameters.flags & IORING_SETUP_DEFER_TASKRUN) != 0
                     ? "io_uring"
                     : "io_uring without deferred completions";
  return {};
}

RingQueue::~RingQueue() {
  if (!made_) return;
  // The kernel may still write into buffers of reads that were begun.
  if (under_way_ != 0) cancel_all();
  io_uring_queue_exit(&ring_);
}

Status RingQueue::enable() {
  if (enabled_) return {};
  // liburing 2.3 does not export io_uring_enable_rings().
  const auto ring = static_cast<unsigned>(ring_.ring_fd);
  if (const int enabled = io_uring_register(ring, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
      enabled < 0)
    return fail_errno("enable io_uring", -enabled);
  enabled_ = true;
  return {};
}

Status RingQueue::register_buffers(std::span<const std::span<std::byte>> buffers) {
  if (!options_.registered_buffers)
    return fail(ErrorCode::unsupported, "registered buffers are switched off");
  std::vector<iovec> vectors;
  vectors.reserve(buffers.size());
  for (const auto buffer : buffers) vectors.push_back({buffer.data(), buffer.size()});
  const int registered =
      io_uring_register_buffers(&ring_, vectors.data(), static_cast<unsigned>(vectors.size()));
  if (registered < 0)
    return fail(ErrorCode::unsupported,
                Error::from_errno("register buffers with io_uring", -registered).message());
  return {};
}

// Null only if the kernel takes none of those that are waiting.
io_uring_sqe* RingQueue::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry != nullptr) return entry;
  io_uring_submit(&ring_);
  return io_uring_get_sqe(&ring_);
}

void RingQueue::listen_for_wake() {
  if (listening_) return;
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return;
  io_uring_prep_read(entry, wake_event_.get(), &wake_count_, sizeof wake_count_, 0);
  io_uring_sqe_set_data64(entry, wake_token);
  listening_ = true;
}

Status RingQueue::begin(Token token, const Read& read) {
  ICBD_TRY(enable());
  if (under_way_ >= options_.capacity)
    return fail(ErrorCode::busy, fmt::format("{} reads are under way already", under_way_));
  io_uring_sqe* entry = next_entry();
  if (entry == nullptr) return fail(ErrorCode::busy, "the ring takes no more reads");
  const auto length = static_cast<unsigned>(read.buffer.size());
  if (read.registered)
    io_uring_prep_read_fixed(entry, read.fd, read.buffer.data(), length, read.offset,
                             *read.registered);
  else
    io_uring_prep_read(entry, read.fd, read.buffer.data(), length, read.offset);
  io_uring_sqe_set_data64(entry, token);
  ++under_way_;
  return {};
}

// What has completed already; none if nothing has. The kernel is not asked.
Result<std::optional<Completion>> RingQueue::take(bool& woken) {
  io_uring_cqe* entry = nullptr;
  while (io_uring_peek_cqe(&ring_, &entry) == 0) {
    const Token token = entry->user_data;
    const int result = entry->res;
    io_uring_cqe_seen(&ring_, entry);
    if (token == cancel_token) continue;
    if (token == wake_token) {
      listening_ = false;
      woken = true;
      continue;
    }
    --under_way_;
    if (result < 0) return Completion{token, fail_errno("read through io_uring", -result)};
    return Completion{token, static_cast<std::size_t>(result)};
  }
  return std::nullopt;
}

Result<std::optional<Completion>> RingQueue::wait(std::chrono::milliseconds timeout) {
  ICBD_TRY(enable());
  bool woken = false;
  ICBD_ASSIGN(auto completion, take(woken));
  if (completion) {
    if (woken) wake();  // not lost: the next wait ends at once
    // What was begun meanwhile must not wait for the next time that nothing has completed.
    io_uring_submit(&ring_);
    return completion;
  }
  if (woken) return std::nullopt;
  listen_for_wake();
  __kernel_timespec limit = timespec_of(timeout);
  io_uring_cqe* entry = nullptr;
  const int waited = io_uring_submit_and_wait_timeout(&ring_, &entry, 1, &limit, nullptr);
  if (waited < 0 && waited != -ETIME && waited != -EINTR && waited != -EAGAIN && waited != -EBUSY)
    return fail_errno("wait for io_uring", -waited);
  ICBD_ASSIGN(completion, take(woken));
  if (completion && woken) wake();
  return completion;
}

void RingQueue::wake() {
  const std::uint64_t one = 1;
  static_cast<void>(write_all(wake_event_.get(), std::as_bytes(std::span(&one, 1))));
}

void RingQueue::cancel_all() {
  if (io_uring_sqe* entry = next_entry(); entry != nullptr) {
    io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(entry, cancel_token);
  }
  while (under_way_ != 0) {
    const int waited = io_uring_submit_and_wait(&ring_, 1);
    if (waited == -EEXIST || waited == -EBADFD) return;  // another thread's: nothing can be done
    bool woken = false;
    while (take(woken).value_or(std::nullopt)) {
    }
  }
}

}  // namespace icbd::uring
