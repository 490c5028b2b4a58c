#include "tree_walk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <unordered_map>

#include "icbd/manifest/inode_attributes.h"

#include "beneath.h"
#include "inode_facts.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;

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
      return over_limit(path, "the length of the path", path.size(), limits::path_length - 1);
    if (depth > limits::directory_depth)
      return over_limit(path, "the depth", depth, limits::directory_depth);
    ICBD_ASSIGN(const bool is_directory, add_entry(path));
    if (!is_directory) return {};
    ICBD_ASSIGN(const auto names, list_beneath(root_fd_, path));
    for (const std::string& name : names) ICBD_TRY(visit(child_path(path, name), depth + 1));
    return {};
  }

  // True if it is a directory whose content belongs to the version.
  Result<bool> add_entry(const std::string& path) {
    ICBD_ASSIGN(const unique_fd fd, open_beneath(root_fd_, path, O_PATH | O_NOFOLLOW));
    ICBD_ASSIGN(const struct statx status, read_status(fd.get(), path));
    if (status.stx_ino == nested_subvolume_inode) {
      tree_.warnings.push_back(
          fmt::format("\"{}\" is a nested subvolume and is not part of the version", path));
      return false;
    }
    if (tree_.entries.size() >= limits::entries_per_version)
      return over_limit(path, "the number of entries", tree_.entries.size() + 1,
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
      return over_limit(entry.path, "the size", entry.size, limits::file_size);
    ICBD_ASSIGN(entry.xattrs, read_xattrs(fd));
    if (entry.xattrs.size() > limits::xattrs_per_file)
      return over_limit(entry.path, "the number of extended attributes", entry.xattrs.size(),
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
