// What is open in the mount, and how each open file is read.
//
// Purpose: gives every node one mode while anything is open on it, as the kernel demands
// (fs/fuse/iomode.c): either it reads the file by itself (passthrough: one backing id, shared by
// all opens), or every read comes to us (served). The mode is chosen when a node is opened that has
// no open handles: passthrough if all of the file is here by then.
// Lifecycle: takes over what an earlier process left in the memory; writes to it whatever a later
// one needs. Backing files that nobody has open stay with the kernel for the next open, up to
// `most_idle`, until forget().
// Guarantees: thread-safe. Opening is idempotent: a request that the kernel sends again gets the
// handle that it was given. No backing file is forgotten, whenever a process is killed. No lock is
// held while a file is opened, read or closed; one is while the kernel is told of a backing file,
// which reads nothing.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/types.h"
#include "icbd/fs/library.h"

#include "connection_memory.h"

namespace icbd::fs {

// The kernel's table of files that it reads for us.
class BackingFiles {
 public:
  virtual ~BackingFiles() = default;
  virtual bool available() const = 0;
  // The kernel keeps the file; the descriptor may be closed afterwards.
  virtual Result<std::uint32_t> add(int descriptor) = 0;
  virtual void remove(std::uint32_t id) = 0;
  // The same of one that the kernel may not have; false if so.
  virtual bool remove_if_there(std::uint32_t id) = 0;
};

class OpenNodes {
 public:
  static constexpr std::size_t most_idle = 1024;

  struct Opened {
    std::uint64_t handle = 0;
    std::optional<std::uint32_t> backing;  // passthrough
    bool given_before = false;             // by an earlier process, for the same request
  };

  OpenNodes(ConnectionMemory& memory, BackingFiles& backings, Logger logger);

  // Opens a node whose mode stands already, without its file. Nothing if the file is needed.
  // `unique` is the request's, with the kernel's bit for one that is sent again.
  std::optional<Result<Opened>> open_known(std::uint64_t node, std::uint64_t unique);
  // ENFILE if most_handles are open.
  Result<Opened> open(std::uint64_t node, std::uint64_t unique, std::shared_ptr<OpenFile> file);
  // A handle that is not open, or not any more, is ignored: the request was sent twice.
  void close(std::uint64_t handle);

  // The file of an open node; null if it has not been opened by this process.
  std::shared_ptr<OpenFile> file(std::uint64_t node) const;
  // Keeps it while the node is open; returns what others use meanwhile.
  std::shared_ptr<OpenFile> keep_file(std::uint64_t node, std::shared_ptr<OpenFile> file);

  std::size_t open_handles(VersionSerial serial) const;
  // forget(), unless a file of the version is open; returns how many are.
  std::size_t forget_unless_open(VersionSerial serial);
  // What is here of the version has gone, or goes: its backing files that nobody has open are given
  // back, and nodes that are open now are not opened again (ESTALE).
  void forget(VersionSerial serial);

  struct Served {
    std::uint64_t node = 0;
    std::size_t handles = 0;
  };
  // Open nodes whose reads come to us.
  std::vector<Served> served() const;

 private:
  struct Node {
    std::uint32_t handles = 0;
    std::optional<std::uint32_t> backing_slot;  // passthrough
    bool gone = false;
    std::shared_ptr<OpenFile> file;
    std::list<std::uint64_t>::iterator idle;  // if handles is 0: its place among the idle
  };
  using Nodes = std::unordered_map<std::uint64_t, Node>;

  void take_over();
  void give_back_lost_backings();
  Result<std::uint64_t> add_handle(std::uint64_t node, std::uint64_t unique);
  std::optional<Opened> opened_before(std::uint64_t node, std::uint64_t unique) const;
  Result<Opened> open_in(Nodes::iterator found, std::uint64_t unique);
  std::optional<std::uint32_t> add_backing(std::uint64_t node, const OpenFile& file);
  void remove_backing(std::uint32_t slot);
  void remove_backing_of(const Node& node);
  void forget_locked(VersionSerial serial);
  void forget_oldest_idle();

  ConnectionMemory& memory_;
  BackingFiles& backings_;
  Logger logger_;

  mutable std::mutex mutex_;  // guards memory_ and what is below
  Nodes nodes_;
  std::list<std::uint64_t> idle_;  // passthrough nodes that are not open, the oldest first
  std::unordered_map<VersionSerial, std::size_t> handles_of_;
  // Slots of handles that an earlier process gave, by their request.
  std::unordered_map<std::uint64_t, std::uint32_t> given_before_;
  std::vector<std::uint32_t> free_handles_;
  std::vector<std::uint32_t> free_backings_;
  bool refusal_said_ = false;
};

}  // namespace icbd::fs
