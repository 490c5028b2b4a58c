#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>
#include <variant>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/base/unique_fd.h"

#include "session.h"

namespace icbd::applier {

using namespace sendstream;

namespace {

// The stream's chmod follows; until then nobody else needs to see the new object.
constexpr mode_t initial_file_mode = 0600;
constexpr mode_t initial_directory_mode = 0700;
constexpr std::uint64_t mode_bits = 0177777;

// The command says what it makes, and its mode says it once more (0 if it says nothing).
Status check_type(std::uint64_t mode, mode_t type) {
  if (mode == 0 || (mode <= mode_bits && (mode & S_IFMT) == type)) return {};
  return fail(ErrorCode::corrupt, fmt::format("mode {:#o} is not of this kind", mode));
}

std::size_t depth_of(std::string_view path) {
  return static_cast<std::size_t>(std::ranges::count(path, '/'));
}

// oINODE-GENERATION-NUMBER in the root: how the kernel calls a new file until it says its name, as
// a rule in the next command (gen_unique_name() in fs/btrfs/send.c).
bool is_kernels_first_name(std::string_view path) {
  if (!path.starts_with('o')) return false;
  path.remove_prefix(1);
  return std::ranges::count(path, '-') == 2 &&
         path.find_first_not_of("0123456789-") == std::string_view::npos;
}

// That no directory lies more than `levels` below this one. A stream's paths are bounded, but by
// renaming one deep tree into another it could make one that no path reaches.
Status check_height(int directory_fd, const char* name, std::size_t levels) {
  ICBD_ASSIGN(unique_fd fd, open_at(directory_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(fd.get()), ::closedir);
  if (!entries) return fail_errno("list a directory");
  const int entries_fd = fd.release();
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream of entries is this function's own.
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view entry_name(entry->d_name);
    if (entry->d_type != DT_DIR || entry_name == "." || entry_name == "..") continue;
    if (levels == 0)
      return fail(ErrorCode::too_large,
                  fmt::format("directories more than {} deep", limits::directory_depth));
    ICBD_TRY(check_height(entries_fd, entry->d_name, levels - 1));
  }
  return {};
}

}  // namespace

Status Session::count_inode() {
  if (inodes_made_ == options_.inodes_max)
    return fail(ErrorCode::too_large,
                fmt::format("more than {} files and directories", options_.inodes_max));
  ++inodes_made_;
  return {};
}

// To make a file and rename it costs twice what it costs to make it where it belongs. Not where
// commands may fail one by one: each has to tell of itself.
Status Session::operator()(const MakeFile& command) {
  ICBD_TRY(count_inode());
  if (!options_.pass_over_errors && is_kernels_first_name(command.path)) {
    ICBD_ASSIGN(const Place place, tree_.place(command.path));
    if (::faccessat(place.fd(), place.name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
      held_file_ = command.path;
      return {};
    }
  }
  return tree_.make_file(command.path, initial_file_mode);
}

Status Session::make_held_file(const Command& next) {
  if (held_file_.empty()) return {};
  const Rename* rename = std::get_if<Rename>(&next);
  if (rename != nullptr && rename->path == held_file_) return {};
  return make_held_file();
}

Status Session::make_held_file() {
  const std::string path = std::exchange(held_file_, {});
  Status made = tree_.make_file(path, initial_file_mode);
  if (!made) return std::unexpected(made.error().with_context("mkfile " + path));
  return {};
}

Status Session::operator()(const MakeDirectory& command) {
  ICBD_TRY(count_inode());
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::mkdirat(place.fd(), place.name.c_str(), initial_directory_mode) != 0)
    return fail_errno("mkdir");
  return drop_inherited(tree_, place, command.path);
}

Status Session::operator()(const MakeNode& command) {
  const auto type = static_cast<mode_t>(command.mode & S_IFMT);
  if ((!S_ISCHR(type) && !S_ISBLK(type)) || command.mode > mode_bits)
    return fail(ErrorCode::corrupt, fmt::format("mode {:#o} is not a device node's", command.mode));
  if (!options_.policy.allow_device_nodes)
    return fail(ErrorCode::permission_denied,
                "the policy forbids device nodes (allow_device_nodes)");
  return make_node(command.path, type, command.device);
}

Status Session::operator()(const MakeFifo& command) {
  ICBD_TRY(check_type(command.mode, S_IFIFO));
  return make_node(command.path, S_IFIFO, 0);
}

Status Session::operator()(const MakeSocket& command) {
  ICBD_TRY(check_type(command.mode, S_IFSOCK));
  return make_node(command.path, S_IFSOCK, 0);
}

Status Session::make_node(const std::string& path, mode_t type, std::uint64_t device) {
  ICBD_TRY(count_inode());
  ICBD_ASSIGN(const Place place, tree_.place(path));
  if (::mknodat(place.fd(), place.name.c_str(), type | initial_file_mode, device) != 0)
    return fail_errno("mknod");
  return drop_inherited(tree_, place, path);
}

Status Session::operator()(const MakeSymlink& command) {
  ICBD_TRY(count_inode());
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::symlinkat(command.target.c_str(), place.fd(), place.name.c_str()) != 0)
    return fail_errno("symlink");
  return {};
}

Status Session::operator()(const Rename& command) {
  ICBD_ASSIGN(const Place from, tree_.place(command.path));
  ICBD_ASSIGN(const Place to, tree_.place(command.to));
  if (!held_file_.empty()) {
    // Not where it would be another file than one that was made where the kernel made it.
    if (from.directory->bequeathed_flags == to.directory->bequeathed_flags) {
      held_file_.clear();
      return tree_.make_file(command.to, initial_file_mode);
    }
    ICBD_TRY(make_held_file());
  }
  if (depth_of(command.to) > depth_of(command.path)) {
    ICBD_ASSIGN(const Object* moved, tree_.object(command.path));
    if (moved->is_directory())
      ICBD_TRY(check_height(from.fd(), from.name.c_str(),
                            limits::directory_depth - depth_of(command.to) - 1));
  }
  // The kernel unlinks before it renames: a stream that replaces is not one of its own.
  if (::renameat2(from.fd(), from.name.c_str(), to.fd(), to.name.c_str(), RENAME_NOREPLACE) != 0)
    return fail_errno("rename");
  tree_.renamed(command.path, command.to);
  return {};
}

Status Session::operator()(const Link& command) {
  ICBD_ASSIGN(const Place existing, tree_.place(command.existing));
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  // What is open of it is known by one name, and may be changed by the other.
  tree_.forget(command.existing);
  if (::linkat(existing.fd(), existing.name.c_str(), place.fd(), place.name.c_str(), 0) != 0)
    return fail_errno("link");
  return {};
}

Status Session::operator()(const Unlink& command) {
  tree_.forget(command.path);
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::unlinkat(place.fd(), place.name.c_str(), 0) != 0) return fail_errno("unlink");
  return {};
}

Status Session::operator()(const RemoveDirectory& command) {
  tree_.forget(command.path);
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::unlinkat(place.fd(), place.name.c_str(), AT_REMOVEDIR) != 0) return fail_errno("rmdir");
  return {};
}

}  // namespace icbd::applier
