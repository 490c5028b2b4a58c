// What has to outlive the process that serves a mount: the kernel's INIT, which comes once; which
// files are open; which backing files the kernel holds for us, which it cannot be asked for; and,
// where the kernel cannot send them again, the requests that are under way.
//
// Purpose: lies in a memfd that a holder keeps beside /dev/fuse, so that the next process goes on
// with what the kernel and its readers believe. Everything else about a node is computed.
// Lifecycle: create() for a new mount; attach() to what an earlier process left. The mapping lives
// as long as this object, the memory as long as somebody has the descriptor.
// Guarantees: at any moment at which the process may be killed, a slot is either free or whole: its
// node is written last and taken away first. Not thread-safe: OpenNodes and RequestJournal each
// hold a lock around their own slots.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::fs {

class ConnectionMemory {
 public:
  // At most so many files of the mount are open at the same time; further ones get ENFILE.
  static constexpr std::uint32_t most_handles = 1u << 20;
  static constexpr std::uint32_t most_backings = 1u << 20;

  // Of a kernel without RESEND; requests under way beyond so many are lost with the process.
  static constexpr std::uint32_t most_requests = 1u << 14;

  struct Header {
    std::uint64_t magic = 0;
    std::uint32_t layout = 0;
    std::uint32_t init_length = 0;         // 0: INIT has not come yet
    std::array<std::byte, 256> init = {};  // as the kernel wrote it
    std::atomic<std::uint32_t> init_answered = 0;
    std::atomic<std::uint32_t> directories_mounted = 0;
    std::uint32_t handles_used = 0;   // slots from here on were never used
    std::uint32_t backings_used = 0;  // slots from here on were never used
    std::uint32_t requests_used = 0;  // slots from here on were never used
    // Not 0: the kernel may have one that is in no slot yet.
    std::atomic<std::uint32_t> adding_backing = 0;
    std::uint32_t last_backing = 0;  // the id that the kernel gave last
  };

  // An open file; free if node is 0.
  struct Handle {
    std::atomic<std::uint64_t> node = 0;
    std::uint64_t unique = 0;  // of the request that opened it, without the bit for resent ones
  };

  // A file that the kernel reads for us; free if node is 0. With an id all the same, the kernel may
  // still have it.
  struct Backing {
    std::atomic<std::uint64_t> node = 0;
    std::uint64_t id = 0;
  };

  // A request as the kernel wrote it; free if its first four bytes, the length, are 0.
  struct Request {
    std::array<std::byte, 512> bytes = {};
  };

  static Result<ConnectionMemory> create();
  // `unsupported` if another release has written it.
  static Result<ConnectionMemory> attach(unique_fd memory);
  ConnectionMemory(ConnectionMemory&& other) noexcept;
  ConnectionMemory& operator=(ConnectionMemory&&) = delete;
  ~ConnectionMemory();

  int fd() const { return fd_.get(); }
  Header& header() const;
  std::span<Handle> handles() const;    // all slots
  std::span<Backing> backings() const;  // all slots
  std::span<Request> requests() const;  // all slots

 private:
  struct Layout;
  static Result<ConnectionMemory> map(unique_fd memory);
  ConnectionMemory(unique_fd memory, Layout* layout) : fd_(std::move(memory)), layout_(layout) {}

  unique_fd fd_;
  Layout* layout_ = nullptr;
};

}  // namespace icbd::fs
