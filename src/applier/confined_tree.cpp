#include "confined_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

namespace icbd::applier {
namespace {

// What new files and directories inherit on BTRFS: the attribute of the directory that says so, and
// those of the new object that come from it.
constexpr std::array<const char*, 2> bequeathing_xattrs = {"system.posix_acl_default",
                                                           "btrfs.compression"};
constexpr std::array<const char*, 3> inherited_xattrs = {
    "system.posix_acl_access", "system.posix_acl_default", "btrfs.compression"};

// The path of a directory contains itself.
bool contains(std::string_view directory, std::string_view path) {
  return directory.empty() || path == directory ||
         (path.starts_with(directory) && path[directory.size()] == '/');
}

bool is_component(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && text.size() <= limits::name_length &&
         text.find('\0') == std::string_view::npos;
}

// What new files inherit of their storage (btrfs_inherit_iflags() in fs/btrfs).
constexpr int bequeathed_flags_mask = FS_NOCOW_FL | FS_NOCOMP_FL | FS_COMPR_FL;

Result<int> bequeathed_flags(int directory_fd) {
  ICBD_ASSIGN(const unique_fd fd, open_at(directory_fd, ".", O_RDONLY | O_DIRECTORY));
  int flags = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return fail_errno("get a directory's flags");
  return flags & bequeathed_flags_mask;
}

bool bequeaths(int directory_fd) {
  const std::string path = descriptor_path(directory_fd);
  return std::ranges::any_of(bequeathing_xattrs, [&path](const char* name) {
    return ::getxattr(path.c_str(), name, nullptr, 0) >= 0;
  });
}

}  // namespace

std::string descriptor_path(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

Status ConfinedTree::check_path(std::string_view path) {
  if (path.size() >= limits::path_length)
    return fail(ErrorCode::corrupt, fmt::format("a path of {} bytes", path.size()));
  std::size_t depth = 0;
  for (std::string_view rest = path; !path.empty();) {
    const std::size_t slash = rest.find('/');
    if (!is_component(rest.substr(0, slash)))
      return fail(ErrorCode::corrupt, "not a path inside the subvolume");
    if (++depth > limits::directory_depth)
      return fail(ErrorCode::corrupt,
                  fmt::format("a path of more than {} components", limits::directory_depth));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  return {};
}

Result<Place> ConfinedTree::place(std::string_view path) {
  ICBD_TRY(check_path(path));
  if (path.empty()) return fail(ErrorCode::corrupt, "the root of the subvolume has no name");
  const std::size_t slash = path.rfind('/');
  const bool in_root = slash == std::string_view::npos;
  ICBD_ASSIGN(auto parent, directory(in_root ? "" : path.substr(0, slash)));
  return Place{std::move(parent), std::string(in_root ? path : path.substr(slash + 1))};
}

Result<Object*> ConfinedTree::object(std::string_view path) {
  for (auto& cached : objects_) {
    if (!cached || cached->path != path) continue;
    std::swap(cached, objects_.front());
    return objects_.front().get();
  }
  ICBD_ASSIGN(auto opened, open_object(path));
  return keep(std::move(opened));
}

Object* ConfinedTree::keep(std::unique_ptr<Object> object) {
  objects_.back() = std::exchange(objects_.front(), std::move(object));
  return objects_.front().get();
}

Status ConfinedTree::make_file(std::string_view path, mode_t mode) {
  ICBD_ASSIGN(const Place where, place(path));
  auto made = std::make_unique<Object>();
  ICBD_ASSIGN(made->writable,
              open_at(where.fd(), where.name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode));
  made->path = path;
  made->type = S_IFREG;
  made->ends_with_its_size = true;
  keep(std::move(made));
  return drop_inherited(*this, where, path);
}

Result<int> ConfinedTree::readable(std::string_view path) {
  ICBD_ASSIGN(Object * found, file(path));
  if (found->writable) return found->writable.get();
  if (!found->readable) {
    ICBD_ASSIGN(found->readable, open_at(AT_FDCWD, descriptor_path(found->fd()), O_RDONLY));
  }
  return found->readable.get();
}

Result<int> ConfinedTree::writable(std::string_view path) {
  ICBD_ASSIGN(Object * found, file(path));
  if (!found->writable) {
    ICBD_ASSIGN(found->writable, open_at(AT_FDCWD, descriptor_path(found->fd()), O_RDWR));
  }
  return found->writable.get();
}

void ConfinedTree::renamed(std::string_view path, std::string_view to) {
  for (auto& cached : objects_)
    if (cached && cached->is_file() && cached->path == path) cached->path = to;
  forget(path);
}

void ConfinedTree::forget(std::string_view path) {
  for (auto& cached : objects_)
    if (cached && contains(path, cached->path)) cached.reset();
  if (last_directory_ && contains(path, last_directory_->path)) last_directory_.reset();
  if (path.empty()) root_.reset();
}

void ConfinedTree::forget_all() {
  forget("");
}

Result<unique_fd> ConfinedTree::resolve(int directory_fd, std::string_view path,
                                        std::uint64_t flags) const {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const std::string text(path);
  const long fd = ::syscall(SYS_openat2, directory_fd, text.c_str(), &how, sizeof how);
  if (fd >= 0) return unique_fd(static_cast<int>(fd));
  const int cause = errno;
  if (cause == ELOOP) return fail(ErrorCode::corrupt, "the path leads through a symbolic link");
  if (cause == EXDEV) return fail(ErrorCode::corrupt, "the path leads out of the subvolume");
  return fail_errno("resolve the path", cause);
}

Result<std::shared_ptr<const Directory>> ConfinedTree::directory(std::string_view path) {
  auto& cached = path.empty() ? root_ : last_directory_;
  if (cached && cached->path == path) return cached;
  ICBD_ASSIGN(unique_fd handle, resolve(root_fd_, path.empty() ? "." : path, O_PATH | O_DIRECTORY));
  const bool gives = bequeaths(handle.get());
  ICBD_ASSIGN(const int flags, bequeathed_flags(handle.get()));
  cached = std::make_shared<const Directory>(Directory{.path = std::string(path),
                                                       .handle = std::move(handle),
                                                       .bequeaths = gives,
                                                       .bequeathed_flags = flags});
  return cached;
}

Result<std::unique_ptr<Object>> ConfinedTree::open_object(std::string_view path) {
  auto opened = std::make_unique<Object>();
  opened->path = path;
  if (path.empty()) {
    ICBD_ASSIGN(opened->handle, resolve(root_fd_, ".", O_PATH | O_DIRECTORY));
  } else {
    ICBD_ASSIGN(const Place where, place(path));
    ICBD_ASSIGN(opened->handle, resolve(where.fd(), where.name, O_PATH | O_NOFOLLOW));
  }
  struct stat status{};
  if (::fstat(opened->handle.get(), &status) != 0) return fail_errno("stat");
  opened->type = status.st_mode & S_IFMT;
  return opened;
}

Result<Object*> ConfinedTree::file(std::string_view path) {
  ICBD_ASSIGN(Object * found, object(path));
  if (!found->is_file()) return fail(ErrorCode::corrupt, "it is not a regular file");
  return found;
}

Status drop_inherited(ConfinedTree& tree, const Place& place, std::string_view path) {
  if (!place.directory->bequeaths) return {};
  ICBD_ASSIGN(const Object* created, tree.object(path));
  if (S_ISLNK(created->type)) return {};
  const std::string handle = descriptor_path(created->fd());
  for (const char* name : inherited_xattrs)
    if (::removexattr(handle.c_str(), name) != 0 && errno != ENODATA && errno != EOPNOTSUPP)
      return fail_errno(fmt::format("remove the inherited attribute {}", name));
  return {};
}

}  // namespace icbd::applier
