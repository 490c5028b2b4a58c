#include "remove.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "icbd/btrfs/subvolume.h"

namespace icbd::repository {

Status rename_new(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
    return fail_errno(fmt::format("rename {} to {}", from.string(), to.string()));
  return {};
}

Status remove_file(const std::filesystem::path& file) {
  if (unlink(file.c_str()) != 0 && errno != ENOENT)
    return fail_errno(fmt::format("remove {}", file.string()));
  return {};
}

Status remove_subvolume(const std::filesystem::path& subvolume) {
  struct stat status{};
  if (lstat(subvolume.c_str(), &status) != 0 && errno == ENOENT) return {};
  return btrfs::delete_subvolume(subvolume);
}

}  // namespace icbd::repository
