#include "frozen_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string_view>

#include "icbd/base/file.h"
#include "icbd/base/unique_fd.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::applier {
namespace {

constexpr int frozen_flags = FS_IMMUTABLE_FL | FS_APPEND_FL;

Status set_flags(int fd, int flags) {
  if (::ioctl(fd, FS_IOC_SETFLAGS, &flags) != 0) return fail_errno("set a file's flags");
  return {};
}

}  // namespace

Status FrozenFiles::thaw(int root_fd) {
  ICBD_TRY(thaw_name(root_fd, "."));
  return thaw_entries(root_fd);
}

Status FrozenFiles::thaw_name(int directory_fd, const char* name) {
  struct statx status{};
  if (::statx(directory_fd, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_INO, &status) != 0)
    return fail_errno("look for immutable files");
  if ((status.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) == 0) return {};
  // Only these have flags of their own; a device must not be woken.
  if (!S_ISREG(status.stx_mode) && !S_ISDIR(status.stx_mode)) return {};
  ICBD_ASSIGN(const unique_fd fd, open_at(directory_fd, name, O_RDONLY | O_NOFOLLOW));
  int flags = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return fail_errno("get a file's flags");
  files_.push_back({InodeNumber(status.stx_ino), flags});
  return set_flags(fd.get(), flags & ~frozen_flags);
}

Status FrozenFiles::thaw_entries(int directory_fd) {
  ICBD_ASSIGN(unique_fd fd, open_at(directory_fd, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(fd.get()), ::closedir);
  if (!entries) return fail_errno("list a directory");
  const int entries_fd = fd.release();
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream of entries is this function's own.
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name(entry->d_name);
    if (name == "." || name == "..") continue;
    ICBD_TRY(thaw_name(entries_fd, entry->d_name));
    if (entry->d_type != DT_DIR) continue;
    ICBD_ASSIGN(const unique_fd below,
                open_at(entries_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ICBD_TRY(thaw_entries(below.get()));
  }
  return {};
}

Status FrozenFiles::freeze(int root_fd, const std::unordered_set<std::uint64_t>& decided) const {
  if (files_.empty()) return {};
  ICBD_ASSIGN(const auto subvolume, btrfs::subvolume_info(root_fd));
  for (const File& file : files_) {
    if (decided.contains(file.inode.value())) continue;
    auto fd = btrfs::open_inode(root_fd, subvolume.id, file.inode, O_RDONLY);
    if (!fd && fd.error().code() == ErrorCode::not_found) continue;  // the stream removed it
    if (!fd) return std::unexpected(fd.error());
    ICBD_TRY(set_flags(fd->get(), file.flags));
  }
  return {};
}

}  // namespace icbd::applier
