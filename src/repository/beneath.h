// Files below a root directory, whatever is renamed or replaced by symlinks meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::repository {

// openat2(2): never leaves the root and follows no symlink on the way; with O_NOFOLLOW not at the
// end either. `path` is relative, "" is the root itself.
Result<unique_fd> open_beneath(int root_fd, std::string_view path, int flags, unsigned mode = 0);

// The directory that has a name, and the name in it, for calls that make, link or remove one.
struct NameBeneath {
  unique_fd directory;
  std::string name;
};
Result<NameBeneath> name_beneath(int root_fd, std::string_view path);

// The inode behind an O_PATH descriptor, symlinks included, for calls that take a path only.
std::string descriptor_path(int fd);

// "directory/name"; the name alone in the root.
std::string child_path(std::string_view directory, std::string_view name);

// Names in a directory, sorted. Only names: a descriptor for each level of a deep tree would be too
// many.
Result<std::vector<std::string>> list_beneath(int root_fd, std::string_view path);

}  // namespace icbd::repository
