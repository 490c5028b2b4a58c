// Reads that are under way while their caller does something else.
//
// Purpose: the one small seam to io_uring. make_queue() gives a ring of the kernel; where the
// kernel has none (switched off, forbidden by a sandbox), one that reads when it is waited for.
// What a kernel before 6.1 lacks of a ring is done without. Lifecycle: made on any thread; from the
// first begin() or wait() on, used by that thread alone, wake() excepted. Buffers and descriptors
// must live until their operation has completed; the destructor, on the same thread, cancels what
// is under way and waits for it. Guarantees: each operation that was begun completes exactly once,
// in any order. Nothing is retried: a read may come out short, as read(2) may.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "icbd/base/error.h"

namespace icbd::uring {

// The caller's name for an operation; the greatest number is the queue's own.
using Token = std::uint64_t;

struct Read {
  int fd = -1;
  std::span<std::byte> buffer;
  std::uint64_t offset = 0;
  // Which of the registered buffers `buffer` lies in; none: in another one.
  std::optional<std::uint16_t> registered = {};
};

struct Completion {
  Token token = 0;
  Result<std::size_t> bytes;  // read; 0 at the end of the file
};

class Queue {
 public:
  virtual ~Queue() = default;

  // Memory that is pinned once instead of in each read. Called before anything else, at most once.
  // `unsupported` if it cannot be (a limit on locked memory, no ring): reads must then name none.
  virtual Status register_buffers(std::span<const std::span<std::byte>> buffers) = 0;
  // `busy` if as much is under way as the queue has room for.
  virtual Status begin(Token token, const Read& read) = 0;
  virtual std::size_t under_way() const = 0;
  virtual std::size_t capacity() const = 0;
  // The next completion; none after wake() or `timeout`.
  virtual Result<std::optional<Completion>> wait(std::chrono::milliseconds timeout) = 0;
  // Ends the wait that is going on, or else the next one. From any thread.
  virtual void wake() = 0;
  // For the log: "io_uring", or why not.
  virtual std::string_view description() const = 0;
};

struct QueueOptions {
  unsigned capacity = 64;
  // To be forced off, by tests and by who suspects them.
  bool ring = true;
  bool deferred_completions = true;  // IORING_SETUP_DEFER_TASKRUN, Linux 6.1
  bool registered_buffers = true;
};
Result<std::unique_ptr<Queue>> make_queue(const QueueOptions& options = {});

}  // namespace icbd::uring
