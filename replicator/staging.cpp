#include "icbd/replicator/staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::replicator {
namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

using Names = std::vector<Staging::Name>;

// A nested subvolume's place is an empty directory with this inode number
// (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID): it belongs to no version.
constexpr ino_t nested_subvolume_inode = 2;

// Takes the descriptor; `path` is for errors.
Result<std::vector<Staging::Child>> children(unique_fd fd, const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCloser> stream(::fdopendir(fd.get()));
  if (!stream) return fail_errno(fmt::format("list /{}", path));
  static_cast<void>(fd.release());  // the stream's now
  std::vector<Staging::Child> found;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream of entries is this function's own.
  for (errno = 0; const dirent* entry = ::readdir(stream.get()); errno = 0) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == ".." || entry->d_ino == nested_subvolume_inode) continue;
    found.push_back({std::string(name), InodeNumber(entry->d_ino),
                     static_cast<std::uint32_t>(DTTOIF(entry->d_type))});
  }
  if (errno != 0) return fail_errno(fmt::format("list /{}", path));
  std::ranges::sort(found, {}, &Staging::Child::name);
  return found;
}

Status walk_directory(int directory_fd, const std::string& path, std::size_t depth, Names& names) {
  if (depth > limits::directory_depth)
    return fail(ErrorCode::too_large, fmt::format("/{} is nested too deep", path));
  ICBD_ASSIGN(unique_fd listed, open_at(directory_fd, ".", O_RDONLY | O_DIRECTORY));
  ICBD_ASSIGN(const std::vector<Staging::Child> found, children(std::move(listed), path));
  for (const Staging::Child& child : found) {
    const std::string child_path = path.empty() ? child.name : path + '/' + child.name;
    names.push_back({child_path, child.inode, child.file_type});
    if (names.size() > limits::entries_per_version)
      return fail(ErrorCode::too_large, "the version has too many files");
    if (child.file_type != S_IFDIR) continue;
    ICBD_ASSIGN(const unique_fd fd,
                open_at(directory_fd, child.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ICBD_TRY(walk_directory(fd.get(), child_path, depth + 1, names));
  }
  return {};
}

}  // namespace

Result<Staging> Staging::open(const std::filesystem::path& subvolume) {
  ICBD_ASSIGN(unique_fd root, open_file(subvolume, O_RDONLY | O_DIRECTORY));
  return take(std::move(root));
}

Result<Staging> Staging::take(unique_fd root) {
  ICBD_ASSIGN(const btrfs::SubvolumeInfo info, btrfs::subvolume_info(root.get()));
  return Staging(std::move(root), info.id);
}

Result<unique_fd> Staging::open_inode(InodeNumber inode, int flags) const {
  return btrfs::open_inode(root_.get(), id_, inode, flags);
}

Result<std::vector<Staging::Child>> Staging::list(InodeNumber directory) const {
  ICBD_ASSIGN(unique_fd fd, open_inode(directory, O_RDONLY | O_DIRECTORY));
  return children(std::move(fd), fmt::format("inode {}", directory.value()));
}

Result<std::vector<Staging::Name>> Staging::walk() const {
  Names names;
  struct stat root{};
  if (::fstat(root_.get(), &root) != 0) return fail_errno("stat the root of a version");
  names.push_back({"", InodeNumber(root.st_ino), S_IFDIR});
  ICBD_TRY(walk_directory(root_.get(), "", 0, names));
  return names;
}

}  // namespace icbd::replicator
