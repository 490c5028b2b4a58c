#include "tree_sync.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/base/quote.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/manifest/inode_attributes.h"

#include "beneath.h"
#include "content_copy.h"
#include "inode_facts.h"
#include "sync_metadata.h"

namespace icbd::repository {
namespace {

FileIdentity identity_of(const struct statx& status) {
  return {.device_major = status.stx_dev_major,
          .device_minor = status.stx_dev_minor,
          .inode = status.stx_ino};
}

bool same_time(const statx_timestamp& a, const statx_timestamp& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool is_type(const struct statx& status, unsigned type) {
  return (status.stx_mode & S_IFMT) == type;
}

// Times of files come from the kernel's tick, 10 ms at most: a change in the tick in which a file
// was last changed does not show. So whoever reads a file that has just been changed waits until
// any further change must show.
void wait_out_tick(const statx_timestamp& changed) {
  constexpr std::chrono::milliseconds tick{10};
  const auto when = std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::seconds(changed.tv_sec) + std::chrono::nanoseconds(changed.tv_nsec)));
  const auto age = std::chrono::system_clock::now() - when;
  if (age >= std::chrono::seconds(0) && age < tick) std::this_thread::sleep_for(tick);
}

// One place in the source.
struct Node {
  std::string path;
  unique_fd fd;  // O_PATH
  struct statx status{};
};

Result<Node> look_at(int root_fd, std::string path) {
  Node node{.path = std::move(path), .fd = {}, .status = {}};
  ICBD_ASSIGN(node.fd, open_beneath(root_fd, node.path, O_PATH | O_NOFOLLOW));
  ICBD_ASSIGN(node.status, read_status(node.fd.get(), node.path));
  return node;
}

// None if there is nothing of that name.
Result<std::optional<Node>> find_in(int root_fd, const std::string& path) {
  auto node = look_at(root_fd, path);
  if (node) return std::optional(std::move(*node));
  // ELOOP: on the way there is a symlink where a directory was expected. One at the end is no
  // error.
  if (node.error().code() == ErrorCode::not_found || node.error().errno_value() == ELOOP)
    return std::nullopt;
  return std::unexpected(node.error());
}

bool is_unchanged(const Node& source, const Node& destination, const SyncOptions& options) {
  return !options.checksum && source.status.stx_size == destination.status.stx_size &&
         same_time(source.status.stx_mtime, destination.status.stx_mtime);
}

// What planning and doing have in common: the walk over the source, and what it refuses.
class Walk {
 public:
  Walk(int source_fd, const SyncOptions& options) : source_fd_(source_fd), options_(options) {}

  Result<Node> root() {
    ICBD_ASSIGN(Node node, look_at(source_fd_, ""));
    mount_ = node.status.stx_mnt_id;
    device_ = identity_of(node.status);
    return node;
  }

  // None if it has gone meanwhile and that is allowed.
  Result<std::optional<Node>> visit(const std::string& path, std::size_t depth) {
    if (path.size() >= limits::path_length)
      return over_limit(path, "the length of the path", path.size(), limits::path_length - 1);
    if (depth > limits::directory_depth)
      return over_limit(path, "the depth", depth, limits::directory_depth);
    ICBD_ASSIGN(auto node, find_in(source_fd_, path));
    if (!node) {
      ICBD_TRY(changed(path));
      return std::nullopt;
    }
    if (++report.entries > limits::entries_per_version)
      return over_limit(path, "the number of entries", report.entries, limits::entries_per_version);
    if (options_.forbidden && identity_of(node->status) == *options_.forbidden &&
        !is_foreign(*node))
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("{} is the repository: the version would contain the versions", quote(path)));
    if (is_type(node->status, S_IFREG) && node->status.stx_size > limits::file_size)
      return over_limit(path, "the size", node->status.stx_size, limits::file_size);
    return node;
  }

  // A mountpoint, or a subvolume nested in the source: its content is not the source's.
  bool is_foreign(const Node& node) const {
    return node.status.stx_mnt_id != mount_ || node.status.stx_dev_major != device_.device_major ||
           node.status.stx_dev_minor != device_.device_minor;
  }
  void warn_foreign(const Node& node) {
    const bool is_directory = is_type(node.status, S_IFDIR);
    report.warnings.push_back(
        fmt::format("{} is a {} and is not part of the version{}", quote(node.path),
                    node.status.stx_mnt_id == mount_ ? "nested subvolume" : "mountpoint",
                    is_directory ? ": an empty directory stands for it" : ""));
  }

  // Something is not any more what it was when it was first looked at.
  Status changed(const std::string& path) {
    std::string what =
        fmt::format("{} changed while it was read", path.empty() ? "the top" : quote(path));
    if (!options_.allow_changing) return fail(ErrorCode::busy, std::move(what));
    constexpr std::size_t warnings_max = 1000;
    if (report.warnings.size() < warnings_max) report.warnings.push_back(std::move(what));
    return {};
  }
  Status check_unchanged(const Node& before) {
    const auto now = look_at(source_fd_, before.path);
    if (now && identity_of(now->status) == identity_of(before.status) &&
        same_time(now->status.stx_ctime, before.status.stx_ctime) &&
        now->status.stx_size == before.status.stx_size)
      return {};
    return changed(before.path);
  }

  Result<std::vector<std::string>> names_in(const Node& directory) {
    auto names = list_beneath(source_fd_, directory.path);
    if (!names && names.error().code() == ErrorCode::not_found) {
      ICBD_TRY(changed(directory.path));
      return std::vector<std::string>();
    }
    if (!names || !directory.path.empty()) return names;
    for (const std::string& name : *names)
      if (options_.reserved.contains(name))
        return fail(ErrorCode::already_exists,
                    fmt::format("the source has a {} of its own", quote(name)));
    return names;
  }

  SyncReport report;

 private:
  int source_fd_;
  const SyncOptions& options_;
  std::uint64_t mount_ = 0;
  FileIdentity device_;
};

class Plan {
 public:
  Plan(int source_fd, int destination_fd, const SyncOptions& options)
      : source_fd_(source_fd),
        destination_fd_(destination_fd),
        options_(options),
        walk_(source_fd, options) {}

  Result<SyncReport> run() {
    ICBD_ASSIGN(const Node root, walk_.root());
    ICBD_TRY(descend(root, 0));
    return std::move(walk_.report);
  }

 private:
  Status descend(const Node& directory, std::size_t depth) {
    ICBD_ASSIGN(const auto names, walk_.names_in(directory));
    for (const std::string& name : names) {
      ICBD_ASSIGN(const auto node, walk_.visit(child_path(directory.path, name), depth + 1));
      if (!node) continue;
      if (walk_.is_foreign(*node))
        walk_.warn_foreign(*node);
      else if (is_type(node->status, S_IFDIR))
        ICBD_TRY(descend(*node, depth + 1));
      else if (is_type(node->status, S_IFREG))
        ICBD_TRY(count(*node));
    }
    return {};
  }

  Status count(const Node& file) {
    if (file.status.stx_nlink > 1 && !counted_.insert(identity_of(file.status)).second) return {};
    std::optional<Node> there;
    if (destination_fd_ >= 0) {
      ICBD_ASSIGN(there, find_in(destination_fd_, file.path));
    }
    const bool comparable = there && is_type(there->status, S_IFREG);
    if (comparable && is_unchanged(file, *there, options_)) {
      walk_.report.bytes_unchanged += file.status.stx_size;
      return {};
    }
    constexpr std::uint64_t block = 512;  // stx_blocks (statx(2))
    const std::uint64_t on_disk =
        std::min<std::uint64_t>(file.status.stx_size, file.status.stx_blocks * block);
    walk_.report.bytes_compared += file.status.stx_size;
    if (!comparable) walk_.report.bytes_new += on_disk;
    if (!options_.estimate) return {};
    if (!comparable || !options_.share) {
      walk_.report.bytes_to_read += on_disk;
      return {};
    }
    ICBD_ASSIGN(const std::uint64_t differs, compare(file));
    walk_.report.bytes_to_read += differs;
    return {};
  }

  Result<std::uint64_t> compare(const Node& file) {
    ICBD_ASSIGN(const unique_fd source,
                open_beneath(source_fd_, file.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    ICBD_ASSIGN(const unique_fd there,
                open_beneath(destination_fd_, file.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    return differing_bytes(source.get(), there.get(), file.status.stx_size);
  }

  int source_fd_;
  int destination_fd_;
  const SyncOptions& options_;
  Walk walk_;
  std::set<FileIdentity> counted_;
};

class Sync {
 public:
  Sync(int source_fd, int destination_fd, const SyncOptions& options, const SyncProgress& progress)
      : source_fd_(source_fd),
        destination_fd_(destination_fd),
        options_(options),
        progress_(progress),
        walk_(source_fd, options) {}

  Result<SyncReport> run() {
    ICBD_ASSIGN(const Node root, walk_.root());
    ICBD_ASSIGN(const Node there, look_at(destination_fd_, ""));
    ICBD_TRY(release(there));
    ICBD_TRY(sync_directory(root, 0));
    hold_back(root);
    for (const auto& [path, attributes] : held_back_)
      ICBD_TRY(set_attributes(destination_fd_, path, attributes));
    return std::move(walk_.report);
  }

 private:
  Status sync_directory(const Node& directory, std::size_t depth) {
    if (progress_.cancelled && *progress_.cancelled)
      return fail(ErrorCode::cancelled, "it is not wanted any more");
    wait_out_tick(directory.status.stx_ctime);
    ICBD_ASSIGN(const auto names, walk_.names_in(directory));
    ICBD_TRY(remove_others(directory.path, names));
    for (const std::string& name : names)
      ICBD_TRY(sync_entry(child_path(directory.path, name), depth + 1));
    ICBD_TRY(walk_.check_unchanged(directory));
    return finish(directory);
  }

  Status remove_others(const std::string& directory, const std::vector<std::string>& names) {
    ICBD_ASSIGN(const auto present, list_beneath(destination_fd_, directory));
    for (const std::string& name : present) {
      if (std::ranges::binary_search(names, name)) continue;
      if (directory.empty() && options_.reserved.contains(name)) continue;
      ICBD_TRY(remove_beneath(destination_fd_, child_path(directory, name)));
    }
    return {};
  }

  Status sync_entry(const std::string& path, std::size_t depth) {
    ICBD_ASSIGN(const auto node, walk_.visit(path, depth));
    if (!node) return remove_if_there(path);
    if (walk_.is_foreign(*node)) {
      walk_.warn_foreign(*node);
      if (!is_type(node->status, S_IFDIR)) return remove_if_there(path);
    } else if (!is_type(node->status, S_IFDIR) && node->status.stx_nlink > 1) {
      const auto first = first_names_.find(identity_of(node->status));
      if (first != first_names_.end()) return link(path, first->second);
    }
    ICBD_TRY(sync_inode(*node));
    if (!is_type(node->status, S_IFDIR)) return finish(*node);
    if (!walk_.is_foreign(*node))
      ICBD_TRY(sync_directory(*node, depth));
    else
      ICBD_TRY(empty(*node));
    hold_back(*node);
    return {};
  }

  Status empty(const Node& directory) {
    ICBD_TRY(remove_others(directory.path, {}));
    return finish(directory);
  }

  Status remove_if_there(const std::string& path) {
    ICBD_ASSIGN(const auto there, find_in(destination_fd_, path));
    return there ? remove_beneath(destination_fd_, path) : Status();
  }

  // There is something of this type and content afterwards; metadata comes later.
  Status sync_inode(const Node& node) {
    ICBD_ASSIGN(auto there, find_in(destination_fd_, node.path));
    unique_fd old;  // what a file that has to be made anew shares its extents with
    if (there) {
      ICBD_ASSIGN(const bool fits, can_stay(node, *there));
      if (!fits) {
        if (is_type(there->status, S_IFREG) && is_type(node.status, S_IFREG)) {
          ICBD_ASSIGN(old, open_beneath(destination_fd_, node.path, O_RDONLY | O_NOFOLLOW));
        }
        ICBD_TRY(remove_beneath(destination_fd_, node.path));
        there.reset();
      } else {
        ICBD_TRY(release(*there));
      }
    }
    if (!there) ICBD_TRY(create(node, old.get()));
    if (!is_type(node.status, S_IFDIR)) ICBD_TRY(remember(node));
    if (!is_type(node.status, S_IFREG)) return {};
    if (there && is_unchanged(node, *there, options_)) {
      walk_.report.bytes_unchanged += node.status.stx_size;
      return {};
    }
    return sync_content(node);
  }

  // Immutable and append-only files and directories refuse every change.
  Status release(const Node& there) {
    if (manifest::attributes_of(there.status) == 0) return {};
    return set_attributes(destination_fd_, there.path, 0);
  }

  Result<bool> can_stay(const Node& node, const Node& there) {
    const auto &wanted = node.status, &present = there.status;
    if ((wanted.stx_mode & S_IFMT) != (present.stx_mode & S_IFMT)) return false;
    if (present.stx_ino == nested_subvolume_inode) return false;
    if (wanted.stx_rdev_major != present.stx_rdev_major ||
        wanted.stx_rdev_minor != present.stx_rdev_minor)
      return false;
    if (is_type(wanted, S_IFLNK)) {
      ICBD_ASSIGN(const std::string target, read_target(node.fd.get()));
      ICBD_ASSIGN(const std::string present_target, read_target(there.fd.get()));
      return target == present_target;
    }
    if (is_type(wanted, S_IFDIR) || present.stx_nlink == 1) return true;
    // One that has other names too: they may belong to other files now.
    const auto claimed = claimed_.find(present.stx_ino);
    if (claimed != claimed_.end()) return claimed->second == identity_of(wanted);
    return wanted.stx_nlink > 1 && !options_.isolated;
  }

  Status create(const Node& node, int old_fd) {
    ICBD_ASSIGN(const NameBeneath place, name_beneath(destination_fd_, node.path));
    const int directory = place.directory.get();
    const char* name = place.name.c_str();
    constexpr mode_t mode = 0600;
    constexpr mode_t directory_mode = 0700;
    const auto& status = node.status;
    int failed = 0;
    if (is_type(status, S_IFREG)) {
      ICBD_ASSIGN(const unique_fd file, open_beneath(directory, place.name,
                                                     O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
      // Where it is refused, the bytes are copied.
      if (old_fd >= 0) static_cast<void>(btrfs::clone_range(old_fd, 0, file.get(), 0, 0));
    } else if (is_type(status, S_IFDIR)) {
      failed = mkdirat(directory, name, directory_mode);
    } else if (is_type(status, S_IFLNK)) {
      ICBD_ASSIGN(const std::string target, read_target(node.fd.get()));
      failed = symlinkat(target.c_str(), directory, name);
    } else {
      failed = mknodat(directory, name, (status.stx_mode & S_IFMT) | mode,
                       makedev(status.stx_rdev_major, status.stx_rdev_minor));
    }
    if (failed != 0) return fail_errno(fmt::format("make {}", quote(node.path)));
    return {};
  }

  // Which inode of the destination stands for which of the source, for their other names.
  Status remember(const Node& node) {
    ICBD_ASSIGN(const Node there, look_at(destination_fd_, node.path));
    if (node.status.stx_nlink == 1 && there.status.stx_nlink == 1) return {};
    claimed_[there.status.stx_ino] = identity_of(node.status);
    if (node.status.stx_nlink > 1) first_names_[identity_of(node.status)] = node.path;
    return {};
  }

  Status link(const std::string& path, const std::string& first) {
    ICBD_ASSIGN(const Node target, look_at(destination_fd_, first));
    ICBD_ASSIGN(const auto there, find_in(destination_fd_, path));
    if (there && there->status.stx_ino == target.status.stx_ino) return {};
    if (there) ICBD_TRY(remove_beneath(destination_fd_, path));
    ICBD_ASSIGN(const NameBeneath from, name_beneath(destination_fd_, first));
    ICBD_ASSIGN(const NameBeneath to, name_beneath(destination_fd_, path));
    if (linkat(from.directory.get(), from.name.c_str(), to.directory.get(), to.name.c_str(), 0) !=
        0)
      return fail_errno(fmt::format("link {} to {}", quote(path), quote(first)));
    return {};
  }

  Status sync_content(const Node& file) {
    wait_out_tick(file.status.stx_ctime);
    walk_.report.bytes_compared += file.status.stx_size;
    auto source =
        open_beneath(source_fd_, file.path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK);
    if (!source && source.error().code() == ErrorCode::not_found) return walk_.changed(file.path);
    if (!source) return std::unexpected(source.error());
    ICBD_ASSIGN(const unique_fd destination,
                open_beneath(destination_fd_, file.path, O_RDWR | O_NOFOLLOW));
    const auto copied = copy_content(source->get(), destination.get(), file.status.stx_size,
                                     {.share = options_.share,
                                      .bytes_done = progress_.bytes_done,
                                      .cancelled = progress_.cancelled});
    if (!copied && copied.error().code() == ErrorCode::busy) return walk_.changed(file.path);
    if (!copied) return std::unexpected(copied.error().with_context(quote(file.path)));
    return walk_.check_unchanged(file);
  }

  Status finish(const Node& node) {
    ICBD_ASSIGN(const Node there, look_at(destination_fd_, node.path));
    ICBD_TRY(sync_metadata(node.fd.get(), node.status, there.fd.get(), node.path,
                           walk_.report.warnings));
    if (is_type(node.status, S_IFREG)) hold_back(node);
    return {};
  }

  // Set when everything else is done: a directory that is immutable takes no names, and a file no
  // links.
  void hold_back(const Node& node) {
    if (const auto attributes = manifest::attributes_of(node.status); attributes != 0)
      held_back_.emplace_back(node.path, attributes);
  }

  int source_fd_, destination_fd_;
  const SyncOptions& options_;
  SyncProgress progress_;
  Walk walk_;
  std::map<FileIdentity, std::string> first_names_;
  std::map<std::uint64_t, FileIdentity> claimed_;  // by inode of the destination
  std::vector<std::pair<std::string, std::uint32_t>> held_back_;
};

}  // namespace

Result<FileIdentity> file_identity(int fd) {
  ICBD_ASSIGN(const struct statx status, read_status(fd, ""));
  return identity_of(status);
}

Result<SyncReport> plan_sync(int source_fd, int destination_fd, const SyncOptions& options) {
  return Plan(source_fd, destination_fd, options).run();
}

Result<SyncReport> sync_tree(int source_fd, int destination_fd, const SyncOptions& options,
                             const SyncProgress& progress) {
  return Sync(source_fd, destination_fd, options, progress).run();
}

}  // namespace icbd::repository
