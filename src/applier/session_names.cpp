#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "icbd/base/file.h"

#include "session.h"

namespace icbd::applier {

using namespace sendstream;

namespace {

// The stream's chmod follows; until then nobody else needs to see the new object.
constexpr mode_t initial_file_mode = 0600;
constexpr mode_t initial_directory_mode = 0700;

}  // namespace

Status Session::operator()(const MakeFile& command) {
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  constexpr int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;
  ICBD_TRY(open_at(place.fd(), place.name, flags, initial_file_mode));
  return drop_inherited(tree_, place, command.path);
}

Status Session::operator()(const MakeDirectory& command) {
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::mkdirat(place.fd(), place.name.c_str(), initial_directory_mode) != 0)
    return fail_errno("mkdir");
  return drop_inherited(tree_, place, command.path);
}

Status Session::operator()(const MakeNode& command) {
  const auto type = static_cast<mode_t>(command.mode & S_IFMT);
  if (!S_ISCHR(type) && !S_ISBLK(type))
    return fail(ErrorCode::corrupt, fmt::format("mode {:#o} is not a device node's", command.mode));
  if (!options_.policy.allow_device_nodes)
    return fail(ErrorCode::permission_denied,
                "the policy forbids device nodes (allow_device_nodes)");
  return make_node(command.path, type, command.device);
}

Status Session::operator()(const MakeFifo& command) {
  return make_node(command.path, S_IFIFO, 0);
}

Status Session::operator()(const MakeSocket& command) {
  return make_node(command.path, S_IFSOCK, 0);
}

Status Session::make_node(const std::string& path, mode_t type, std::uint64_t device) {
  ICBD_ASSIGN(const Place place, tree_.place(path));
  if (::mknodat(place.fd(), place.name.c_str(), type | initial_file_mode, device) != 0)
    return fail_errno("mknod");
  return drop_inherited(tree_, place, path);
}

Status Session::operator()(const MakeSymlink& command) {
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
  if (::symlinkat(command.target.c_str(), place.fd(), place.name.c_str()) != 0)
    return fail_errno("symlink");
  return {};
}

Status Session::operator()(const Rename& command) {
  tree_.forget(command.path);
  ICBD_ASSIGN(const Place from, tree_.place(command.path));
  ICBD_ASSIGN(const Place to, tree_.place(command.to));
  // The kernel unlinks before it renames: a stream that replaces is not one of its own.
  if (::renameat2(from.fd(), from.name.c_str(), to.fd(), to.name.c_str(), RENAME_NOREPLACE) != 0)
    return fail_errno("rename");
  return {};
}

Status Session::operator()(const Link& command) {
  ICBD_ASSIGN(const Place existing, tree_.place(command.existing));
  ICBD_ASSIGN(const Place place, tree_.place(command.path));
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
