// What an inode is, read through an O_PATH descriptor, without opening it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/manifest/manifest.h"

namespace icbd::repository {

// BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: the directory that a snapshot shows in place of a subvolume
// that was nested in its source.
inline constexpr std::uint64_t nested_subvolume_inode = 2;

// With the mount's id. `path` appears in the error.
Result<struct statx> read_status(int fd, std::string_view path);
// None if it is of a type that icbd does not know.
std::optional<manifest::EntryType> type_of(std::uint32_t mode);
// Sorted by name.
Result<std::vector<manifest::Xattr>> read_xattrs(int fd);
// Of a symlink.
Result<std::string> read_target(int fd);

// "…: the depth is 3000, the limit is 2048"
std::unexpected<Error> over_limit(std::string_view path, std::string_view what, std::uint64_t value,
                                  std::uint64_t limit);

}  // namespace icbd::repository
