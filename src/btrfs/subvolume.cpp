#include "icbd/btrfs/subvolume.h"

#include <btrfsutil.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "describe.h"

namespace icbd::btrfs {
namespace {

// libbtrfsutil leaves the cause in errno; its own error says which step of the call failed.
std::unexpected<Error> fail_util(std::string_view what, btrfs_util_error error) {
  const int cause = errno;
  return fail_errno(fmt::format("{}: {}", what, btrfs_util_strerror(error)), cause);
}

std::optional<Uuid> uuid_from(const __u8 (&bytes)[BTRFS_UUID_SIZE]) {
  Uuid uuid;
  static_assert(sizeof uuid.bytes == sizeof bytes);
  std::memcpy(uuid.bytes.data(), bytes, sizeof bytes);
  if (uuid.is_null()) return std::nullopt;
  return uuid;
}

}  // namespace

std::string describe(int fd) {
  std::array<char, 4096> target{};
  const ssize_t length =
      readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), target.data(), target.size());
  if (length < 0) return fmt::format("descriptor {}", fd);
  return std::string(target.data(), static_cast<std::size_t>(length));
}

Result<bool> is_btrfs(const std::filesystem::path& path) {
  struct statfs filesystem{};
  if (statfs(path.c_str(), &filesystem) != 0)
    return fail_errno(fmt::format("statfs {}", path.string()));
  return filesystem.f_type == BTRFS_SUPER_MAGIC;
}

Result<bool> is_subvolume(const std::filesystem::path& path) {
  const btrfs_util_error error = btrfs_util_is_subvolume(path.c_str());
  if (error == BTRFS_UTIL_OK) return true;
  if (error == BTRFS_UTIL_ERROR_NOT_BTRFS || error == BTRFS_UTIL_ERROR_NOT_SUBVOLUME) return false;
  return fail_util(fmt::format("look at {}", path.string()), error);
}

// Not through libbtrfsutil: it searches the tree of roots, which lags behind the kernel's own
// copy until the next commit, and `generation` must be what a send stream will say.
Result<SubvolumeInfo> subvolume_info(int fd) {
  btrfs_ioctl_get_subvol_info_args kernel{};
  // Some kernels answer 1 for success.
  if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &kernel) < 0)
    return fail_errno(fmt::format("ask for the subvolume of {}", describe(fd)));
  SubvolumeInfo info;
  info.id = SubvolumeId(kernel.treeid);
  info.uuid = uuid_from(kernel.uuid).value_or(Uuid{});
  info.parent_uuid = uuid_from(kernel.parent_uuid);
  info.received_uuid = uuid_from(kernel.received_uuid);
  info.generation = kernel.ctransid;
  info.send_transaction = kernel.stransid;
  info.creation = kernel.otransid;
  info.receipt = kernel.rtransid;
  info.created = {static_cast<std::int64_t>(kernel.otime.sec), kernel.otime.nsec};
  // The flags of the root item, where 1 is read-only; in the SETFLAGS ioctl it would be 2.
  info.read_only = (kernel.flags & 1) != 0;
  return info;
}

Result<Uuid> filesystem_uuid(int fd) {
  btrfs_ioctl_fs_info_args kernel{};
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &kernel) < 0)
    return fail_errno(fmt::format("ask for the filesystem of {}", describe(fd)));
  return uuid_from(kernel.fsid).value_or(Uuid{});
}

Status create_subvolume(const std::filesystem::path& path) {
  if (const auto error = btrfs_util_create_subvolume(path.c_str(), 0, nullptr, nullptr))
    return fail_util(fmt::format("create subvolume {}", path.string()), error);
  return {};
}

Status create_snapshot(const std::filesystem::path& source,
                       const std::filesystem::path& destination, bool read_only) {
  const int flags = read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0;
  if (const auto error =
          btrfs_util_create_snapshot(source.c_str(), destination.c_str(), flags, nullptr, nullptr))
    return fail_util(fmt::format("snapshot {} to {}", source.string(), destination.string()),
                     error);
  return {};
}

bool is_read_only(int root_fd) {
  std::uint64_t flags = 0;
  return ::ioctl(root_fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) == 0 &&
         (flags & BTRFS_SUBVOL_RDONLY) != 0;
}

Status set_read_only(int root_fd, bool read_only) {
  if (const auto error = btrfs_util_set_subvolume_read_only_fd(root_fd, read_only))
    return fail_util(
        fmt::format("make {} {}", describe(root_fd), read_only ? "read-only" : "writable"), error);
  return {};
}

Status delete_subvolume(const std::filesystem::path& path) {
  if (const auto error = btrfs_util_delete_subvolume(path.c_str(), 0))
    return fail_util(fmt::format("delete subvolume {}", path.string()), error);
  return {};
}

Status set_received(int root_fd, const Uuid& uuid, std::uint64_t send_transaction) {
  btrfs_ioctl_received_subvol_args kernel{};
  static_assert(sizeof kernel.uuid == sizeof uuid.bytes);
  std::memcpy(kernel.uuid, uuid.bytes.data(), sizeof kernel.uuid);
  kernel.stransid = send_transaction;
  if (ioctl(root_fd, BTRFS_IOC_SET_RECEIVED_SUBVOL, &kernel) < 0)
    return fail_errno(fmt::format("set the received UUID of {}", describe(root_fd)));
  return {};
}

Status sync_filesystem(int fd) {
  if (syncfs(fd) != 0) return fail_errno(fmt::format("syncfs {}", describe(fd)));
  // syncfs(2) has been seen to return 0 after a transaction was aborted; this one waits for the
  // commit itself and knows.
  if (const auto error = btrfs_util_sync_fd(fd))
    return fail_util(fmt::format("commit the filesystem of {}", describe(fd)), error);
  return {};
}

Result<Space> filesystem_space(int fd) {
  struct statvfs filesystem{};
  if (fstatvfs(fd, &filesystem) != 0) return fail_errno(fmt::format("statvfs {}", describe(fd)));
  return Space{.total_bytes = std::uint64_t{filesystem.f_blocks} * filesystem.f_frsize,
               .free_bytes = std::uint64_t{filesystem.f_bavail} * filesystem.f_frsize};
}

}  // namespace icbd::btrfs
