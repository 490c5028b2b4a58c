#include "tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <unordered_map>

#include "icbd/base/file.h"
#include "icbd/manifest/inode_attributes.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;

// BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: the directory that a snapshot shows in place of a subvolume
// that was nested in its source.
constexpr ino_t nested_subvolume_inode = 2;

std::unexpected<Error> too_large(std::string_view path, std::string_view what, std::uint64_t value,
                                 std::uint64_t limit) {
  return fail(ErrorCode::too_large,
              fmt::format("\"{}\": {} is {}, the limit is {}", path, what, value, limit));
}

std::optional<EntryType> type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return EntryType::file;
    case S_IFDIR:
      return EntryType::directory;
    case S_IFLNK:
      return EntryType::symlink;
    case S_IFCHR:
      return EntryType::character_device;
    case S_IFBLK:
      return EntryType::block_device;
    case S_IFIFO:
      return EntryType::fifo;
    case S_IFSOCK:
      return EntryType::socket;
    default:
      return std::nullopt;
  }
}

// The inode behind an O_PATH descriptor, symlinks included, for calls that take a path only.
std::string descriptor_path(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

Result<Bytes> read_xattr(const std::string& inode, const std::string& name) {
  Bytes value(limits::xattr_value_length);
  const ssize_t got = getxattr(inode.c_str(), name.c_str(), value.data(), value.size());
  if (got < 0) return fail_errno(fmt::format("read the attribute {}", name));
  value.resize(static_cast<std::size_t>(got));
  value.shrink_to_fit();
  return value;
}

Result<std::vector<manifest::Xattr>> read_xattrs(int fd) {
  const std::string inode = descriptor_path(fd);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): zeros would cost more than the call.
  std::array<char, 65536> names;  // XATTR_LIST_MAX
  const ssize_t length = listxattr(inode.c_str(), names.data(), names.size());
  if (length < 0) return fail_errno("list extended attributes");
  std::vector<manifest::Xattr> xattrs;
  for (std::size_t begin = 0; begin < static_cast<std::size_t>(length);) {
    manifest::Xattr& xattr = xattrs.emplace_back();
    xattr.name = names.data() + begin;
    begin += xattr.name.size() + 1;
    ICBD_ASSIGN(xattr.value, read_xattr(inode, xattr.name));
  }
  std::ranges::sort(xattrs, {}, &manifest::Xattr::name);
  return xattrs;
}

Result<std::string> read_target(int fd) {
  std::array<char, limits::path_length> target{};
  const ssize_t length = readlinkat(fd, "", target.data(), target.size());
  if (length < 0) return fail_errno("read the symlink");
  return std::string(target.data(), static_cast<std::size_t>(length));
}

// Names only: a descriptor for each level of a deep tree would be too many.
Result<std::vector<std::string>> list_directory(int root_fd, const std::string& path) {
  ICBD_ASSIGN(unique_fd fd, open_at(root_fd, path.empty() ? "." : path,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME));
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd.get()), closedir);
  if (!directory) return fail_errno(fmt::format("list \"{}\"", path));
  static_cast<void>(fd.release());  // closedir() closes it
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream of entries is this function's own.
    const dirent* entry = readdir(directory.get());
    if (!entry && errno != 0) return fail_errno(fmt::format("list \"{}\"", path));
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

class Walk {
 public:
  explicit Walk(int root_fd) : root_fd_(root_fd) {}

  Result<WalkedTree> run() {
    ICBD_TRY(visit("", 0));
    return std::move(tree_);
  }

 private:
  Status visit(const std::string& path, std::size_t depth) {
    if (path.size() >= limits::path_length)
      return too_large(path, "the length of the path", path.size(), limits::path_length - 1);
    if (depth > limits::directory_depth)
      return too_large(path, "the depth", depth, limits::directory_depth);
    ICBD_ASSIGN(const bool is_directory, add_entry(path));
    if (!is_directory) return {};
    ICBD_ASSIGN(const auto names, list_directory(root_fd_, path));
    for (const std::string& name : names)
      ICBD_TRY(visit(path.empty() ? name : fmt::format("{}/{}", path, name), depth + 1));
    return {};
  }

  // True if it is a directory whose content belongs to the version.
  Result<bool> add_entry(const std::string& path) {
    ICBD_ASSIGN(const unique_fd fd,
                open_at(root_fd_, path.empty() ? "." : path, O_PATH | O_NOFOLLOW));
    struct statx status{};
    if (statx(fd.get(), "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &status) != 0)
      return fail_errno(fmt::format("stat \"{}\"", path));
    if (status.stx_ino == nested_subvolume_inode) {
      tree_.warnings.push_back(
          fmt::format("\"{}\" is a nested subvolume and is not part of the version", path));
      return false;
    }
    if (tree_.entries.size() >= limits::entries_per_version)
      return too_large(path, "the number of entries", tree_.entries.size() + 1,
                       limits::entries_per_version);
    auto entry = describe(path, fd.get(), status);
    if (!entry) return std::unexpected(entry.error().with_context(fmt::format("\"{}\"", path)));
    tree_.entries.push_back(std::move(*entry));
    return tree_.entries.back().type == EntryType::directory;
  }

  Result<Entry> describe(const std::string& path, int fd, const struct statx& status) {
    const auto type = type_of(status.stx_mode);
    if (!type) return fail(ErrorCode::unsupported, "a file of a type that icbd does not know");
    Entry entry;
    entry.path = path;
    if (*type != EntryType::directory && status.stx_nlink > 1) {
      const auto [first, added] = first_names_.try_emplace(status.stx_ino, path);
      if (!added) {
        entry.type = EntryType::hard_link;
        entry.target = first->second;
        return entry;
      }
    }
    entry.type = *type;
    ICBD_TRY(fill(entry, fd, status));
    return entry;
  }

  static Status fill(Entry& entry, int fd, const struct statx& status) {
    entry.mode = status.stx_mode & 07777;
    entry.uid = status.stx_uid;
    entry.gid = status.stx_gid;
    entry.modified = {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec};
    entry.attributes = manifest::attributes_of(status);
    if (entry.type == EntryType::character_device || entry.type == EntryType::block_device) {
      entry.device_major = status.stx_rdev_major;
      entry.device_minor = status.stx_rdev_minor;
    }
    if (entry.type == EntryType::symlink) {
      ICBD_ASSIGN(entry.target, read_target(fd));
    }
    if (entry.type == EntryType::file) entry.size = status.stx_size;
    if (entry.size > limits::file_size)
      return too_large(entry.path, "the size", entry.size, limits::file_size);
    ICBD_ASSIGN(entry.xattrs, read_xattrs(fd));
    if (entry.xattrs.size() > limits::xattrs_per_file)
      return too_large(entry.path, "the number of extended attributes", entry.xattrs.size(),
                       limits::xattrs_per_file);
    return {};
  }

  int root_fd_;
  WalkedTree tree_;
  // Where an inode with several names was seen first.
  std::unordered_map<std::uint64_t, std::string> first_names_;
};

}  // namespace

Result<WalkedTree> walk_tree(int root_fd) {
  return Walk(root_fd).run();
}

}  // namespace icbd::repository
