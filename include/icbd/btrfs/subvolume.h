// Subvolumes and snapshots of BTRFS.
//
// Purpose: the only folder that sees BTRFS headers and ioctls. Thin: one function per operation,
// through libbtrfsutil where it has one. Thread-safe as the kernel is. Errors name the path.
// Privileges: send_shape, open_inode and delete need CAP_SYS_ADMIN or CAP_DAC_READ_SEARCH.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/base/uuid.h"

namespace icbd::btrfs {

struct SubvolumeInfo {
  SubvolumeId id;
  Uuid uuid;
  std::optional<Uuid> parent_uuid;
  std::optional<Uuid> received_uuid;
  std::uint64_t generation = 0;        // ctransid: transaction of the last change
  std::uint64_t send_transaction = 0;  // stransid: the sender's, if received
  std::uint64_t creation = 0;          // otransid: the transaction that made it
  std::uint64_t receipt = 0;           // rtransid: of set_received(); 0 if it was not received
  Timestamp created;                   // otime; of a received one, when it was received
  bool read_only = false;

  // What a version is called everywhere: its received UUID if it has one, else its own.
  Uuid identity() const { return received_uuid.value_or(uuid); }
};

// True if `path` lies on BTRFS (statfs(2) magic 0x9123683E).
Result<bool> is_btrfs(const std::filesystem::path& path);
// True if `path` is the root directory of a subvolume.
Result<bool> is_subvolume(const std::filesystem::path& path);
// Of the subvolume that `fd` lies in.
Result<SubvolumeInfo> subvolume_info(int fd);
// The UUID of the filesystem that `fd` lies on (BTRFS_IOC_FS_INFO).
Result<Uuid> filesystem_uuid(int fd);

// Makes an empty writable subvolume.
Status create_subvolume(const std::filesystem::path& path);
// `destination` must not exist. The snapshot has a UUID of its own; a snapshot of a received
// read-only subvolume keeps the received UUID unless it is made writable.
Status create_snapshot(const std::filesystem::path& source,
                       const std::filesystem::path& destination, bool read_only);
Status set_read_only(int root_fd, bool read_only);
// False also if it cannot be told.
bool is_read_only(int root_fd);
// Unlinks the subvolume; the kernel frees its extents later. Nested ones make it fail.
Status delete_subvolume(const std::filesystem::path& path);
// BTRFS_IOC_SET_RECEIVED_SUBVOL: must come before the read-only flag (EROFS after).
Status set_received(int root_fd, const Uuid& uuid, std::uint64_t send_transaction);

// Writes out everything of the filesystem and commits; returns the first error.
Status sync_filesystem(int fd);

// Opens an inode of a subvolume without a path, by a file handle (open_by_handle_at(2)). `fd` is
// any descriptor on the filesystem. `not_found` (ESTALE) if there is no such inode.
Result<unique_fd> open_inode(int fd, SubvolumeId subvolume, InodeNumber inode, int flags);

// One of the names of an inode, from the root of its subvolume (BTRFS_IOC_INO_LOOKUP); for
// messages, never to open anything by. not_found if there is no such inode.
Result<std::string> path_of_inode(int root_fd, InodeNumber inode);

// Writes the kernel's metadata-only incremental send (v2, NO_FILE_DATA) of the read-only
// subvolume `root_fd` to `output_fd`, a pipe or socket in blocking mode; returns when all is
// written. The parent is put into the clone sources, else unchanged tails are reported as changed.
// `parent_root_fd` -1: against nothing.
Status send_shape(int root_fd, int parent_root_fd, int output_fd);
// The same through a pipe and a thread of its own: `sink` gets the stream piece by piece, on the
// caller's thread; an error from the sink ends the send.
Status send_shape(int root_fd, int parent_root_fd,
                  const std::function<Status(ByteView piece)>& sink);

// Shares `range` of the source with the destination (FICLONERANGE). `unsupported` (EINVAL, EXDEV)
// if the kernel cannot share these; the caller then copies.
Status clone_range(int source_fd, std::uint64_t source_offset, int destination_fd,
                   std::uint64_t destination_offset, std::uint64_t length);

struct Space {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};
Result<Space> filesystem_space(int fd);

}  // namespace icbd::btrfs
