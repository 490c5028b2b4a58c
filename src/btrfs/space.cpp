#include "icbd/btrfs/space.h"

#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "describe.h"

namespace icbd::btrfs {
namespace {

// The kernel's own reserve for metadata is listed beside the block groups
// (BTRFS_SPACE_INFO_GLOBAL_RSV, linux/btrfs_tree.h).
constexpr std::uint64_t global_reserve = std::uint64_t{1} << 49;
// Between asking how many kinds of block groups there are and asking for them, some may be added.
constexpr std::size_t spare_slots = 8;
constexpr std::uint64_t mebibyte = 1024 * 1024;

std::uint64_t in_mebibytes(std::uint64_t bytes) {
  return bytes / mebibyte;
}

std::uint64_t copies(std::uint64_t flags) {
  if ((flags & (BTRFS_BLOCK_GROUP_DUP | BTRFS_BLOCK_GROUP_RAID1 | BTRFS_BLOCK_GROUP_RAID10)) != 0)
    return 2;
  if ((flags & BTRFS_BLOCK_GROUP_RAID1C3) != 0) return 3;
  return (flags & BTRFS_BLOCK_GROUP_RAID1C4) != 0 ? 4 : 1;
}

Result<std::vector<btrfs_ioctl_space_info>> block_groups(int fd) {
  // Not {}: clang calls that an array of no elements, and refuses it as an extension.
  btrfs_ioctl_space_args count;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  count.space_slots = 0;
  count.total_spaces = 0;
  if (ioctl(fd, BTRFS_IOC_SPACE_INFO, &count) < 0)
    return fail_errno(fmt::format("ask for the block groups of {}", describe(fd)));
  const std::size_t slots = count.total_spaces + spare_slots;
  std::vector<std::uint64_t> buffer(
      (sizeof(btrfs_ioctl_space_args) + slots * sizeof(btrfs_ioctl_space_info)) /
          sizeof(std::uint64_t) +
      1);
  count.space_slots = slots;
  std::memcpy(buffer.data(), &count, sizeof count);
  if (ioctl(fd, BTRFS_IOC_SPACE_INFO, buffer.data()) < 0)
    return fail_errno(fmt::format("ask for the block groups of {}", describe(fd)));
  std::memcpy(&count, buffer.data(), sizeof count);
  std::vector<btrfs_ioctl_space_info> groups(std::min<std::size_t>(slots, count.total_spaces));
  std::memcpy(groups.data(), buffer.data() + sizeof count / sizeof(std::uint64_t),
              groups.size() * sizeof(btrfs_ioctl_space_info));
  return groups;
}

struct Devices {
  std::uint64_t total = 0;
  std::uint64_t unallocated = 0;
};

Result<Devices> devices(int fd) {
  btrfs_ioctl_fs_info_args filesystem{};
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &filesystem) < 0)
    return fail_errno(fmt::format("ask for the filesystem of {}", describe(fd)));
  Devices all;
  for (std::uint64_t id = 1; id <= filesystem.max_id; ++id) {
    btrfs_ioctl_dev_info_args device{};
    device.devid = id;
    if (ioctl(fd, BTRFS_IOC_DEV_INFO, &device) < 0) {
      if (errno == ENODEV) continue;  // one that was removed
      return fail_errno(fmt::format("ask for device {} of {}", id, describe(fd)));
    }
    all.total += device.total_bytes;
    all.unallocated += device.total_bytes - std::min(device.total_bytes, device.bytes_used);
  }
  return all;
}

}  // namespace

Result<Allocation> allocation(int fd) {
  ICBD_ASSIGN(const Devices all, devices(fd));
  ICBD_ASSIGN(const auto groups, block_groups(fd));
  Allocation found;
  std::uint64_t reserved = 0;
  std::uint64_t data_copies = 1;
  for (const btrfs_ioctl_space_info& group : groups) {
    const std::uint64_t free = group.total_bytes - std::min(group.total_bytes, group.used_bytes);
    if ((group.flags & global_reserve) != 0) {
      reserved += free;
    } else if ((group.flags & BTRFS_BLOCK_GROUP_DATA) != 0) {
      found.data_free += free;
      data_copies = copies(group.flags);
    }
    // Mixed block groups count for both.
    if ((group.flags & BTRFS_BLOCK_GROUP_METADATA) != 0 && (group.flags & global_reserve) == 0)
      found.metadata_free += free;
  }
  found.metadata_free -= std::min(found.metadata_free, reserved);
  found.total = all.total / data_copies;
  found.unallocated = all.unallocated / data_copies;
  return found;
}

std::uint64_t room_for_data(const Allocation& allocation, std::uint64_t reserve) {
  const std::uint64_t spare = allocation.unallocated - std::min(allocation.unallocated, reserve);
  // What is free for data may be used up, as long as metadata can still grow.
  const std::uint64_t metadata = allocation.metadata_free + allocation.unallocated;
  return metadata < reserve / 2 ? 0 : allocation.data_free + spare;
}

std::uint64_t default_reserve(std::uint64_t filesystem_bytes) {
  constexpr std::uint64_t part = 50;
  return std::clamp(filesystem_bytes / part, 64 * mebibyte, 4096 * mebibyte);
}

Status check_room(int fd, std::uint64_t bytes, std::uint64_t reserve) {
  ICBD_ASSIGN(const Allocation space, allocation(fd));
  if (reserve == 0) reserve = default_reserve(space.total);
  const std::uint64_t room = room_for_data(space, reserve);
  if (room >= bytes) return {};
  return fail(ErrorCode::no_space,
              fmt::format("{} MiB are needed and there is room for {} MiB ({} MiB unallocated, of "
                          "which {} MiB stay reserved; {} MiB free for data): free some space or "
                          "add a device",
                          in_mebibytes(bytes + mebibyte - 1), in_mebibytes(room),
                          in_mebibytes(space.unallocated), in_mebibytes(reserve),
                          in_mebibytes(space.data_free)));
}

}  // namespace icbd::btrfs
