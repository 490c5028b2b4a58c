#include "sync_metadata.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "icbd/base/quote.h"
#include "icbd/manifest/inode_attributes.h"

#include "beneath.h"
#include "inode_facts.h"

namespace icbd::repository {
namespace {

using manifest::Xattr;

std::unexpected<Error> fail_on(std::string_view what, std::string_view path) {
  const int error = errno;
  return fail_errno(fmt::format("{} {}", what, quote(path)), error);
}

// BTRFS's own properties, and attributes that the filesystem of the source makes up: NFSv4 ACLs and
// the like. POSIX ACLs are the only ones of system.* that BTRFS holds.
bool is_foreign(std::string_view name) {
  return name.starts_with("system.") && !name.starts_with("system.posix_acl_");
}

Status set_xattr(const std::string& inode, const Xattr& xattr, std::string_view path,
                 std::vector<std::string>& warnings) {
  if (setxattr(inode.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) == 0)
    return {};
  if (errno != EOPNOTSUPP)
    return fail_on(fmt::format("set the attribute {} of", quote(xattr.name)), path);
  warnings.push_back(
      fmt::format("{}: BTRFS has no attribute {}: it is left out", quote(path), quote(xattr.name)));
  return {};
}

// True if anything was changed.
Result<bool> sync_xattrs(int source_fd, int destination_fd, std::string_view path,
                         std::vector<std::string>& warnings) {
  ICBD_ASSIGN(const auto wanted, read_xattrs(source_fd));
  ICBD_ASSIGN(const auto present, read_xattrs(destination_fd));
  const std::string inode = descriptor_path(destination_fd);
  bool changed = false;
  for (const Xattr& xattr : present) {
    if (std::ranges::find(wanted, xattr.name, &Xattr::name) != wanted.end()) continue;
    if (removexattr(inode.c_str(), xattr.name.c_str()) != 0 && errno != ENODATA)
      return fail_on(fmt::format("remove the attribute {} of", quote(xattr.name)), path);
    changed = true;
  }
  for (const Xattr& xattr : wanted) {
    if (std::ranges::find(present, xattr) != present.end()) continue;
    if (is_foreign(xattr.name)) {
      warnings.push_back(fmt::format("{}: BTRFS has no attribute {}: it is left out", quote(path),
                                     quote(xattr.name)));
      continue;
    }
    ICBD_TRY(set_xattr(inode, xattr, path, warnings));
    changed = true;
  }
  return changed;
}

bool same_time(const statx_timestamp& a, const statx_timestamp& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

unsigned flags_of(std::uint32_t attributes) {
  unsigned flags = 0;
  if ((attributes & manifest::attribute_immutable) != 0) flags |= FS_IMMUTABLE_FL;
  if ((attributes & manifest::attribute_append_only) != 0) flags |= FS_APPEND_FL;
  if ((attributes & manifest::attribute_no_dump) != 0) flags |= FS_NODUMP_FL;
  return flags;
}

Status remove_one(int root_fd, const std::string& path, bool is_directory) {
  ICBD_ASSIGN(const NameBeneath place, name_beneath(root_fd, path));
  if (unlinkat(place.directory.get(), place.name.c_str(), is_directory ? AT_REMOVEDIR : 0) != 0)
    return fail_on("remove", path);
  return {};
}

}  // namespace

Status sync_metadata(int source_fd, const struct statx& source, int destination_fd,
                     std::string_view path, std::vector<std::string>& warnings) {
  ICBD_ASSIGN(struct statx status, read_status(destination_fd, path));
  bool changed = false;
  if (status.stx_uid != source.stx_uid || status.stx_gid != source.stx_gid) {
    if (fchownat(destination_fd, "", source.stx_uid, source.stx_gid,
                 AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
      return fail_on("change the owner of", path);
    changed = true;
  }
  ICBD_ASSIGN(const bool xattrs, sync_xattrs(source_fd, destination_fd, path, warnings));
  if (changed || xattrs) {
    ICBD_ASSIGN(status, read_status(destination_fd, path));
  }
  if (status.stx_mode != source.stx_mode && !S_ISLNK(source.stx_mode) &&
      chmod(descriptor_path(destination_fd).c_str(), source.stx_mode & 07777) != 0)
    return fail_on("change the mode of", path);
  if (!same_time(status.stx_mtime, source.stx_mtime)) {
    const std::array<timespec, 2> times{
        {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
         {.tv_sec = source.stx_mtime.tv_sec, .tv_nsec = source.stx_mtime.tv_nsec}}};
    if (utimensat(destination_fd, "", times.data(), AT_EMPTY_PATH) != 0)
      return fail_on("set the time of", path);
  }
  return {};
}

Status set_attributes(int root_fd, std::string_view path, std::uint32_t attributes) {
  ICBD_ASSIGN(const unique_fd fd,
              open_beneath(root_fd, path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK));
  constexpr unsigned ours = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL;
  unsigned flags = 0;
  if (ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return fail_on("read the flags of", path);
  const unsigned wanted = (flags & ~ours) | flags_of(attributes);
  if (wanted != flags && ioctl(fd.get(), FS_IOC_SETFLAGS, &wanted) != 0)
    return fail_on("set the flags of", path);
  return {};
}

Status remove_beneath(int root_fd, const std::string& path) {
  struct statx status{};
  {
    ICBD_ASSIGN(const unique_fd fd, open_beneath(root_fd, path, O_PATH | O_NOFOLLOW));
    ICBD_ASSIGN(status, read_status(fd.get(), path));
  }
  if (manifest::attributes_of(status) != 0) ICBD_TRY(set_attributes(root_fd, path, 0));
  const bool is_directory = S_ISDIR(status.stx_mode);
  if (is_directory && status.stx_ino != nested_subvolume_inode) {
    ICBD_ASSIGN(const auto names, list_beneath(root_fd, path));
    for (const std::string& name : names) ICBD_TRY(remove_beneath(root_fd, child_path(path, name)));
  }
  return remove_one(root_fd, path, is_directory);
}

}  // namespace icbd::repository
