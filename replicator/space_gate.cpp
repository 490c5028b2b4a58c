#include "icbd/replicator/space_gate.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/btrfs/space.h"

namespace icbd::replicator {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

std::uint64_t in_mebibytes(std::uint64_t bytes) {
  return bytes / mebibyte;
}

}  // namespace

std::uint64_t default_reserve(std::uint64_t filesystem_bytes) {
  constexpr std::uint64_t part = 50;
  return std::clamp(filesystem_bytes / part, 64 * mebibyte, 4096 * mebibyte);
}

Status SpaceGate::check(std::uint64_t bytes) const {
  ICBD_ASSIGN(const btrfs::Allocation space, btrfs::allocation(directory_fd_));
  const std::uint64_t reserve = reserve_ != 0 ? reserve_.load() : default_reserve(space.total);
  const std::uint64_t room = btrfs::room_for_data(space, reserve);
  if (room >= bytes) return {};
  return fail(ErrorCode::no_space,
              fmt::format("{} MiB are needed and there is room for {} MiB ({} MiB unallocated, of "
                          "which {} MiB stay reserved; {} MiB free for data): free some space or "
                          "add a device",
                          in_mebibytes(bytes + mebibyte - 1), in_mebibytes(room),
                          in_mebibytes(space.unallocated), in_mebibytes(reserve),
                          in_mebibytes(space.data_free)));
}

}  // namespace icbd::replicator
