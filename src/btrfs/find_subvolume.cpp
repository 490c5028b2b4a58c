#include "icbd/btrfs/find_subvolume.h"

#include <btrfsutil.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "icbd/btrfs/subvolume.h"

#include "describe.h"

namespace icbd::btrfs {
namespace {

using Iterator = std::unique_ptr<btrfs_util_subvolume_iterator,
                                 decltype(&btrfs_util_destroy_subvolume_iterator)>;

// Where a directory stands in its subvolume: "" for the root, else with a slash at the end.
Result<std::string> prefix_of(int directory_fd) {
  struct stat status{};
  if (fstat(directory_fd, &status) != 0)
    return fail_errno(fmt::format("stat {}", describe(directory_fd)));
  if (status.st_ino == BTRFS_FIRST_FREE_OBJECTID) return std::string();
  btrfs_ioctl_ino_lookup_args lookup{};
  lookup.objectid = status.st_ino;
  if (ioctl(directory_fd, BTRFS_IOC_INO_LOOKUP, &lookup) != 0)
    return fail_errno(fmt::format("look up {} in its subvolume", describe(directory_fd)));
  // The kernel answers with a slash at the end.
  return std::string(lookup.name);
}

// A function has the same name.
using KernelInfo = struct btrfs_util_subvolume_info;

bool is_read_only(const KernelInfo& info) {
  // Of the root item (BTRFS_ROOT_SUBVOL_RDONLY), where it is bit 0.
  return (info.flags & 1) != 0;
}

bool is(const std::uint8_t (&bytes)[16], const Uuid& uuid) {
  return std::memcmp(bytes, uuid.bytes.data(), uuid.bytes.size()) == 0;
}

// nothing if it is not there any more, or not by a straight way.
std::optional<unique_fd> open_below(int directory_fd, const std::string& path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const long fd = syscall(SYS_openat2, directory_fd, path.c_str(), &how, sizeof how);
  if (fd < 0) return std::nullopt;
  return unique_fd(static_cast<int>(fd));
}

}  // namespace

Result<unique_fd> find_subvolume(int directory_fd, const Uuid& uuid) {
  ICBD_ASSIGN(const std::string prefix, prefix_of(directory_fd));
  std::uint64_t top = 0;  // 0 would do only if the directory were a subvolume's root
  if (const auto error = btrfs_util_subvolume_id_fd(directory_fd, &top))
    return fail_errno(fmt::format("find the subvolume of {}: {}", describe(directory_fd),
                                  btrfs_util_strerror(error)));
  btrfs_util_subvolume_iterator* made = nullptr;
  if (const auto error = btrfs_util_create_subvolume_iterator_fd(directory_fd, top, 0, &made))
    return fail_errno(fmt::format("list the subvolumes of {}: {}", describe(directory_fd),
                                  btrfs_util_strerror(error)));
  const Iterator iterator(made, btrfs_util_destroy_subvolume_iterator);
  std::optional<unique_fd> by_own_uuid;
  for (;;) {
    char* name = nullptr;
    KernelInfo info{};
    const auto error = btrfs_util_subvolume_iterator_next_info(iterator.get(), &name, &info);
    if (error == BTRFS_UTIL_ERROR_STOP_ITERATION) break;
    // Deleted meanwhile.
    if (error == BTRFS_UTIL_ERROR_SUBVOLUME_NOT_FOUND) continue;
    if (error != BTRFS_UTIL_OK)
      return fail_errno(fmt::format("list the subvolumes of {}: {}", describe(directory_fd),
                                    btrfs_util_strerror(error)));
    const std::unique_ptr<char, decltype(&std::free)> guard(name, std::free);
    const std::string_view path(name);
    if (!path.starts_with(prefix) || !is_read_only(info)) continue;
    const bool received = is(info.received_uuid, uuid);
    if (!received && !is(info.uuid, uuid)) continue;
    auto root = open_below(directory_fd, std::string(path.substr(prefix.size())));
    if (!root) continue;
    if (received) return std::move(*root);
    by_own_uuid = std::move(root);
  }
  if (by_own_uuid) return std::move(*by_own_uuid);
  return fail(ErrorCode::not_found, fmt::format("no read-only subvolume below {} has the UUID {}",
                                                describe(directory_fd), uuid.to_string()));
}

}  // namespace icbd::btrfs
