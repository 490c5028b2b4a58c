// Requests that were taken from the kernel and not answered yet, for kernels that cannot send them
// again (before Linux 6.9).
//
// Purpose: the kernel copies each request straight into the memory that outlives this process, so
// that there is no moment at which it counts as delivered and is not written down. A later process
// answers what is left. To answer a request twice is harmless: the kernel knows the second one's
// number no more.
// Lifecycle: over a ConnectionMemory; slots that an earlier process left in use are pending().
// Guarantees: thread-safe. What expects no answer, or is longer than any request of a read-only
// filesystem, is not kept.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "connection_memory.h"

namespace icbd::fs {

class RequestJournal {
 public:
  explicit RequestJournal(ConnectionMemory& memory);

  // A slot into which the next request is to be read; nothing if all are in use.
  std::optional<std::uint32_t> reserve();
  // Nothing was read into it.
  void give_back(std::uint32_t slot);
  std::span<std::byte> bytes(std::uint32_t slot);
  // A request of `length` bytes was read into it. Given back if it is not worth keeping.
  void taken(std::uint32_t slot, std::size_t length);
  // The kernel has the answer.
  void answered(std::uint64_t unique);

  // What an earlier process has taken and not answered; each stays until it is answered.
  std::vector<std::vector<std::byte>> pending();

 private:
  ConnectionMemory& memory_;
  std::mutex mutex_;  // guards what is below
  std::vector<std::uint32_t> free_;
  std::unordered_map<std::uint64_t, std::uint32_t> slot_of_;  // by the request's unique
};

}  // namespace icbd::fs
