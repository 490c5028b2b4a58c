// Calls on single inodes: opening one without a path, sharing extents between two.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "icbd/btrfs/subvolume.h"

#include "describe.h"

namespace icbd::btrfs {
namespace {

// FILEID_BTRFS_WITHOUT_PARENT (include/linux/exportfs.h) and its handle (fs/btrfs/export.h):
// file handles are opaque to programs, but these are stored by NFS clients and cannot change.
constexpr int handle_type_without_parent = 0x4d;
constexpr unsigned handle_bytes = 20;

struct BtrfsHandle {
  std::uint64_t inode;
  std::uint64_t subvolume;
  std::uint32_t generation;  // 0 stands for any
};

// file_handle ends in a flexible array, which C++ does not have.
union HandleBuffer {
  file_handle handle;
  std::byte bytes[sizeof(file_handle) + handle_bytes];
};

}  // namespace

Result<unique_fd> open_inode(int fd, SubvolumeId subvolume, InodeNumber inode, int flags) {
  HandleBuffer buffer{};
  buffer.handle.handle_bytes = handle_bytes;
  buffer.handle.handle_type = handle_type_without_parent;
  const BtrfsHandle fields{inode.value(), subvolume.value(), 0};
  std::memcpy(buffer.bytes + sizeof(file_handle), &fields, handle_bytes);
  int opened;
  do opened = open_by_handle_at(fd, &buffer.handle, flags | O_CLOEXEC);
  while (opened < 0 && errno == EINTR);
  if (opened < 0)
    return fail_errno(fmt::format("open inode {} of subvolume {} on {}", inode.value(),
                                  subvolume.value(), describe(fd)));
  return unique_fd(opened);
}

Result<std::string> path_of_inode(int root_fd, InodeNumber inode) {
  btrfs_ioctl_ino_lookup_args arguments{};
  arguments.objectid = inode.value();  // treeid 0: of the subvolume that root_fd lies in
  if (ioctl(root_fd, BTRFS_IOC_INO_LOOKUP, &arguments) != 0)
    return fail_errno(
        fmt::format("ask for the name of inode {} of {}", inode.value(), describe(root_fd)));
  std::string path(arguments.name, strnlen(arguments.name, sizeof arguments.name));
  if (path.ends_with('/')) path.pop_back();  // the kernel puts one behind each name
  return path;
}

Status clone_range(int source_fd, std::uint64_t source_offset, int destination_fd,
                   std::uint64_t destination_offset, std::uint64_t length) {
  file_clone_range range{.src_fd = source_fd,
                         .src_offset = source_offset,
                         .src_length = length,
                         .dest_offset = destination_offset};
  if (ioctl(destination_fd, FICLONERANGE, &range) == 0) return {};
  const int cause = errno;
  const Error error = Error::from_errno(
      fmt::format("share {} bytes at {} of {} with {} at {}", length, source_offset,
                  describe(source_fd), describe(destination_fd), destination_offset),
      cause);
  if (cause == EINVAL || cause == EXDEV)
    return std::unexpected(Error(ErrorCode::unsupported, error.message(), cause));
  return std::unexpected(error);
}

}  // namespace icbd::btrfs
