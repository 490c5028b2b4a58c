// Makes one tree of files what another is, changing no more than differs.
//
// Purpose: the tree of a publication begins as a snapshot of the version before; what a directory
// has in common with it stays as it is, extents included.
// Guarantees: names, types, modes, owners, times of files and directories, extended attributes
// (ACLs and capabilities with them), symlinks, devices, fifos, sockets, hard links, holes, and the
// attributes that a manifest knows (immutable, append-only, no-dump) are the source's. Nothing is
// followed out of the source: neither symlinks nor mounts. A file of equal size and mtime is taken
// as unchanged. The source is not changed, access times included where the kernel lets us.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::repository {

struct FileIdentity {
  std::uint32_t device_major = 0, device_minor = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileIdentity&) const = default;
};
Result<FileIdentity> file_identity(int fd);

struct SyncOptions {
  // Files of equal size and mtime are compared too.
  bool checksum = false;
  // A file that changes while it is read is taken as it was read, with a warning; else `busy`.
  bool allow_changing = false;
  // Source and destination are on one BTRFS: see CopyOptions.
  bool share = false;
  // Names at the top of the destination that are left alone; a source that has one is refused.
  std::set<std::string> reserved = {};
  // Files of the destination may have names outside of it: none is changed that has others.
  bool isolated = false;
  // Only for plan_sync(): find out `bytes_to_read`.
  bool estimate = false;
  // A directory that must not be met: the repository itself.
  std::optional<FileIdentity> forbidden = {};
};

struct SyncProgress {
  std::atomic<std::uint64_t>* bytes_done = nullptr;
  const std::atomic<bool>* cancelled = nullptr;
};

struct SyncReport {
  std::uint64_t entries = 0;
  std::uint64_t bytes_compared = 0;   // sizes of files that were not taken as unchanged
  std::uint64_t bytes_unchanged = 0;  // sizes of those that were
  std::uint64_t bytes_new = 0;        // of those compared, what is on disk of files that are new
  // What has to be read, of the version's files too; about.
  std::uint64_t bytes_to_read = 0;
  std::vector<std::string> warnings;
};

// What sync_tree() would do, without a change. `destination_fd` -1: against nothing. `busy` and
// `too_large`, naming the path, as sync_tree() and a manifest would refuse it.
Result<SyncReport> plan_sync(int source_fd, int destination_fd, const SyncOptions& options);

// `destination_fd` is a directory on BTRFS that nobody else changes.
Result<SyncReport> sync_tree(int source_fd, int destination_fd, const SyncOptions& options,
                             const SyncProgress& progress);

}  // namespace icbd::repository
