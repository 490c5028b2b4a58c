#include "request_journal.h"

#include <cstring>

#include "kernel_interface.h"

namespace icbd::fs {
namespace {

kernel::RequestHeader header_of(const ConnectionMemory::Request& request) {
  kernel::RequestHeader header;
  std::memcpy(&header, request.bytes.data(), sizeof header);
  return header;
}

bool expects_answer(std::uint32_t opcode) {
  return opcode != kernel::opcode_forget && opcode != kernel::opcode_batch_forget &&
         opcode != kernel::opcode_interrupt && opcode != kernel::opcode_init;
}

// The length, which is the first thing in a request, says that the slot is in use.
void clear(ConnectionMemory::Request& request) {
  std::memset(request.bytes.data(), 0, sizeof(std::uint32_t));
}

}  // namespace

RequestJournal::RequestJournal(ConnectionMemory& memory) : memory_(memory) {
  const auto requests = memory_.requests();
  for (std::uint32_t slot = memory_.header().requests_used; slot-- > 0;) {
    const kernel::RequestHeader header = header_of(requests[slot]);
    if (header.length == 0)
      free_.push_back(slot);
    else
      slot_of_.emplace(header.unique, slot);
  }
}

std::optional<std::uint32_t> RequestJournal::reserve() {
  const std::lock_guard lock(mutex_);
  if (!free_.empty()) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  if (memory_.header().requests_used == ConnectionMemory::most_requests) return std::nullopt;
  return memory_.header().requests_used++;
}

void RequestJournal::give_back(std::uint32_t slot) {
  clear(memory_.requests()[slot]);
  const std::lock_guard lock(mutex_);
  free_.push_back(slot);
}

std::span<std::byte> RequestJournal::bytes(std::uint32_t slot) {
  return memory_.requests()[slot].bytes;
}

void RequestJournal::taken(std::uint32_t slot, std::size_t length) {
  const kernel::RequestHeader header = header_of(memory_.requests()[slot]);
  if (length > sizeof(ConnectionMemory::Request) || !expects_answer(header.opcode))
    return give_back(slot);
  const std::lock_guard lock(mutex_);
  slot_of_.emplace(header.unique, slot);
}

void RequestJournal::answered(std::uint64_t unique) {
  const std::lock_guard lock(mutex_);
  const auto found = slot_of_.find(unique);
  if (found == slot_of_.end()) return;
  clear(memory_.requests()[found->second]);
  free_.push_back(found->second);
  slot_of_.erase(found);
}

std::vector<std::vector<std::byte>> RequestJournal::pending() {
  const std::lock_guard lock(mutex_);
  std::vector<std::vector<std::byte>> all;
  for (const auto& [unique, slot] : slot_of_) {
    const ConnectionMemory::Request& request = memory_.requests()[slot];
    const std::size_t length = std::min<std::size_t>(header_of(request).length, sizeof request);
    all.emplace_back(request.bytes.begin(),
                     request.bytes.begin() + static_cast<std::ptrdiff_t>(length));
  }
  return all;
}

}  // namespace icbd::fs
