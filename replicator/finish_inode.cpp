// Making an inode what the manifest says.

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>

#include "icbd/manifest/inode_attributes.h"
#include "icbd/replicator/staging.h"

#include "file_type.h"

namespace icbd::replicator {
namespace {

using manifest::Entry;
using manifest::EntryType;

// An O_PATH descriptor's link: calls that take a path reach exactly this inode through it.
std::string link_of(const unique_fd& fd) {
  return fmt::format("/proc/self/fd/{}", fd.get());
}

constexpr unsigned frozen_flags = FS_IMMUTABLE_FL | FS_APPEND_FL;
constexpr unsigned kept_flags = frozen_flags | FS_NODUMP_FL;

unsigned inode_flags(std::uint32_t attributes) {
  unsigned flags = 0;
  if ((attributes & manifest::attribute_immutable) != 0) flags |= FS_IMMUTABLE_FL;
  if ((attributes & manifest::attribute_append_only) != 0) flags |= FS_APPEND_FL;
  if ((attributes & manifest::attribute_no_dump) != 0) flags |= FS_NODUMP_FL;
  return flags;
}

// FS_IOC_SETFLAGS keeps the other flags.
Status set_inode_flags(const Staging& staging, InodeNumber inode, unsigned mask, unsigned flags) {
  ICBD_ASSIGN(const unique_fd fd, staging.open_inode(inode, O_RDONLY | O_NONBLOCK));
  unsigned current = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &current) != 0)
    return fail_errno(fmt::format("read the attributes of inode {}", inode.value()));
  const unsigned wanted = (current & ~mask) | flags;
  if (wanted != current && ::ioctl(fd.get(), FS_IOC_SETFLAGS, &wanted) != 0)
    return fail_errno(fmt::format("set the attributes of inode {}", inode.value()));
  return {};
}

// What one inode is compared with and mended to.
class Inode {
 public:
  Inode(const Staging& staging, InodeNumber inode, unique_fd fd, const Entry& entry)
      : staging_(staging), inode_(inode), fd_(std::move(fd)), entry_(entry) {}

  Result<std::string> finish() {
    ICBD_TRY(check());
    const std::uint32_t found = manifest::attributes_of(status_);
    // Only files and directories have attributes. What is frozen takes no change.
    if ((found & (manifest::attribute_immutable | manifest::attribute_append_only)) != 0)
      ICBD_TRY(set_inode_flags(staging_, inode_, frozen_flags, 0));
    ICBD_TRY(mend_owner());
    ICBD_TRY(mend_mode());
    ICBD_TRY(mend_xattrs());
    ICBD_TRY(mend_times());
    // Those that are missing were held back, or are not in the stream for new files.
    if ((found & ~entry_.attributes) != 0) mended_.emplace_back("attributes");
    if (found != entry_.attributes)
      ICBD_TRY(set_inode_flags(staging_, inode_, kept_flags, inode_flags(entry_.attributes)));
    return fmt::format("{}", fmt::join(mended_, ", "));
  }

 private:
  std::unexpected<Error> mismatch(std::string_view what) const {
    return fail(ErrorCode::corrupt,
                fmt::format("/{}: {} of the shape is not the manifest's", entry_.path, what));
  }
  std::unexpected<Error> failed(std::string_view call) const {
    return fail_errno(fmt::format("{} /{}", call, entry_.path));
  }

  Status look() {
    if (::statx(fd_.get(), "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status_) !=
        0)
      return failed("stat");
    return {};
  }

  Status check() {
    ICBD_TRY(look());
    if ((status_.stx_mode & S_IFMT) != file_type(entry_.type)) return mismatch("the type");
    if (entry_.type == EntryType::file && status_.stx_size != entry_.size)
      return mismatch("the size");
    return {};
  }

  Status mend_owner() {
    if (status_.stx_uid == entry_.uid && status_.stx_gid == entry_.gid) return {};
    mended_.emplace_back("owner");
    if (::fchownat(fd_.get(), "", entry_.uid, entry_.gid, AT_EMPTY_PATH) != 0)
      return failed("chown");
    // chown removes setuid and setgid: what is compared next must be the truth.
    return look();
  }

  Status mend_mode() {
    const mode_t mode = status_.stx_mode & 07777;
    if (S_ISLNK(status_.stx_mode) || mode == entry_.mode) return {};
    if ((mode & 01777) != (entry_.mode & 01777)) mended_.emplace_back("mode");
    if (::chmod(link_of(fd_).c_str(), entry_.mode) != 0) return failed("chmod");
    return {};
  }

  Status mend_xattrs() {
    ICBD_ASSIGN(auto present, read_xattrs());
    for (const manifest::Xattr& xattr : entry_.xattrs) {
      const auto found = present.find(xattr.name);
      const bool same = found != present.end() && found->second == xattr.value;
      if (found != present.end()) present.erase(found);
      if (same) continue;
      if (xattr.name != "security.capability") mended_.push_back(xattr.name);
      if (::setxattr(link_of(fd_).c_str(), xattr.name.c_str(), xattr.value.data(),
                     xattr.value.size(), 0) != 0)
        return failed(fmt::format("set {} of", xattr.name));
    }
    for (const auto& [name, value] : present) {
      mended_.push_back(name);
      if (::removexattr(link_of(fd_).c_str(), name.c_str()) != 0)
        return failed(fmt::format("remove {} of", name));
    }
    return {};
  }

  Result<std::map<std::string, Bytes>> read_xattrs() const {
    std::map<std::string, Bytes> xattrs;
    const std::string link = link_of(fd_);
    const ssize_t list_size = ::listxattr(link.c_str(), nullptr, 0);
    if (list_size < 0) return failed("list xattrs of");
    std::string names(static_cast<std::size_t>(list_size), '\0');
    if (::listxattr(link.c_str(), names.data(), names.size()) != list_size)
      return failed("list xattrs of");
    for (std::size_t at = 0; at < names.size(); at += std::string_view(&names[at]).size() + 1) {
      const char* name = &names[at];
      const ssize_t size = ::getxattr(link.c_str(), name, nullptr, 0);
      if (size < 0) return failed(fmt::format("read {} of", name));
      Bytes value(static_cast<std::size_t>(size));
      if (::getxattr(link.c_str(), name, value.data(), value.size()) != size)
        return failed(fmt::format("read {} of", name));
      xattrs.emplace(name, std::move(value));
    }
    return xattrs;
  }

  // Setting what it is already would write the inode anew, and with it a leaf that is the parent's.
  Status mend_times() {
    if (status_.stx_mtime.tv_sec == entry_.modified.seconds &&
        status_.stx_mtime.tv_nsec == entry_.modified.nanoseconds)
      return {};
    const timespec modified{entry_.modified.seconds, entry_.modified.nanoseconds};
    const std::array<timespec, 2> times{modified, modified};
    if (::utimensat(fd_.get(), "", times.data(), AT_EMPTY_PATH) != 0) return failed("set times of");
    return {};
  }

  const Staging& staging_;
  InodeNumber inode_;
  unique_fd fd_;
  const Entry& entry_;
  struct statx status_{};
  std::vector<std::string> mended_;
};

}  // namespace

Result<std::string> finish_inode(const Staging& staging, InodeNumber inode, const Entry& entry) {
  ICBD_ASSIGN(unique_fd fd, staging.open_inode(inode, O_PATH | O_NOFOLLOW));
  return Inode(staging, inode, std::move(fd), entry).finish();
}

Status thaw_inode(const Staging& staging, InodeNumber inode) {
  return set_inode_flags(staging, inode, frozen_flags, 0);
}

}  // namespace icbd::replicator
