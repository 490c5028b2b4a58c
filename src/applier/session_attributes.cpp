#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/sendstream/dump.h"

#include "session.h"

namespace icbd::applier {

using namespace sendstream;

namespace {

constexpr std::string_view capability_xattr = "security.capability";
constexpr mode_t permission_bits = 07777;
constexpr mode_t setid_bits = 06000;

// Source: BTRFS_INODE_* in include/uapi/linux/btrfs_tree.h of Linux 6.18.
struct InodeFlag {
  std::uint64_t bit;
  int flag;  // of FS_IOC_SETFLAGS
};
constexpr std::array<InodeFlag, 6> inode_flags = {{
    {1u << 5, FS_SYNC_FL},
    {1u << 6, FS_IMMUTABLE_FL},
    {1u << 7, FS_APPEND_FL},
    {1u << 8, FS_NODUMP_FL},
    {1u << 9, FS_NOATIME_FL},
    {1u << 10, FS_DIRSYNC_FL},
}};
// These say how BTRFS stores the file, not what it is, and are the receiving filesystem's business:
// NODATASUM, NODATACOW, READONLY, NOCOMPRESS, PREALLOC, COMPRESS, ROOT_ITEM_INIT.
constexpr std::uint64_t storage_bits = 0x1f | (1u << 11) | (std::uint64_t{1} << 31);
// BTRFS_INODE_RO_VERITY, of the upper half.
constexpr std::uint64_t verity_bit = std::uint64_t{1} << 32;

constexpr int late_flags = FS_IMMUTABLE_FL | FS_APPEND_FL;
constexpr int known_flags = late_flags | FS_SYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_DIRSYNC_FL;
// Each costs a descriptor until the end of the stream. Images have a handful of immutable files;
// this leaves room below the usual 1024 descriptors of a process.
constexpr std::size_t late_flags_max = 256;

Result<int> flags_of(std::uint64_t attributes) {
  attributes &= ~(storage_bits | verity_bit);
  int flags = 0;
  for (const InodeFlag& known : inode_flags) {
    if ((attributes & known.bit) != 0) flags |= known.flag;
    attributes &= ~known.bit;
  }
  if (attributes != 0)
    return fail(ErrorCode::unsupported, fmt::format("file attributes {:#x}", attributes));
  return flags;
}

Result<int> current_flags(int fd) {
  int current = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &current) != 0) return fail_errno("get the file's flags");
  return current;
}

// Sets exactly these of known_flags.
Status set_flags(int handle, int flags) {
  ICBD_ASSIGN(const unique_fd fd, open_at(AT_FDCWD, descriptor_path(handle), O_RDONLY));
  ICBD_ASSIGN(const int current, current_flags(fd.get()));
  const int wanted = (current & ~known_flags) | flags;
  if (wanted == current) return {};
  if (::ioctl(fd.get(), FS_IOC_SETFLAGS, &wanted) != 0) return fail_errno("set the file's flags");
  return {};
}

Status change_mode(const Object& object, mode_t mode) {
  // fchmod(2) takes no descriptor that was opened with O_PATH.
  const int changed = object.writable ? ::fchmod(object.writable.get(), mode)
                                      : ::chmod(descriptor_path(object.fd()).c_str(), mode);
  if (changed != 0) return fail_errno("chmod");
  return {};
}

Status set_times(const Object& object, const Times& times) {
  if (::utimensat(object.fd(), "", times.data(), AT_EMPTY_PATH) != 0)
    return fail_errno("set the times");
  return {};
}

timespec to_timespec(Timestamp time) {
  return {.tv_sec = time.seconds, .tv_nsec = static_cast<long>(time.nanoseconds)};
}

}  // namespace

Status Session::check_xattr_name(const std::string& name) const {
  if (name.empty() || name.size() > limits::xattr_name_length ||
      name.find('\0') != std::string::npos)
    return fail(ErrorCode::corrupt, "an extended attribute without a proper name");
  if (name.starts_with("security.") && !options_.policy.allow_security_xattrs)
    return fail(ErrorCode::permission_denied,
                "the policy forbids security attributes (allow_security_xattrs)");
  return {};
}

bool Session::is_held_back(std::string_view xattr_name) const {
  return options_.hold_back && xattr_name == capability_xattr;
}

Status Session::operator()(const SetXattr& command) {
  ICBD_TRY(check_xattr_name(command.name));
  if (command.value.size() > limits::xattr_value_length)
    return fail(ErrorCode::too_large,
                fmt::format("an extended attribute of {} bytes", command.value.size()));
  ICBD_ASSIGN(Object * object, tree_.object(command.path));
  if (is_held_back(command.name)) return {};
  object->ends_with_its_size = false;  // a truncate would take its capability away
  if (::setxattr(descriptor_path(object->fd()).c_str(), command.name.c_str(), command.value.data(),
                 command.value.size(), 0) != 0)
    return fail_errno("setxattr");
  // What the directory hands on to new files may have changed.
  if (object->is_directory()) tree_.forget(command.path);
  return {};
}

Status Session::operator()(const RemoveXattr& command) {
  ICBD_TRY(check_xattr_name(command.name));
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  const std::string handle = descriptor_path(object->fd());
  if (::removexattr(handle.c_str(), command.name.c_str()) != 0) {
    // Writing to a file or changing its owner removes its capability, held back or not.
    if (errno != ENODATA || command.name != capability_xattr) return fail_errno("removexattr");
  }
  if (object->is_directory()) tree_.forget(command.path);
  return {};
}

Status Session::operator()(const ChangeMode& command) {
  if ((command.mode & ~std::uint64_t{permission_bits}) != 0)
    return fail(ErrorCode::corrupt, fmt::format("mode {:#o}", command.mode));
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  auto mode = static_cast<mode_t>(command.mode);
  // On directories these bits hand on the group and give nobody any rights.
  if ((mode & setid_bits) != 0 && !object->is_directory() && !options_.policy.allow_setuid)
    return fail(ErrorCode::permission_denied,
                "the policy forbids setuid and setgid files (allow_setuid)");
  if (options_.hold_back && object->is_file()) mode &= ~setid_bits;
  return change_mode(*object, mode);
}

Status Session::operator()(const ChangeOwner& command) {
  constexpr std::uint64_t unchanged = 0xffffffff;  // to chown(2)
  if (command.uid >= unchanged || command.gid >= unchanged)
    return fail(ErrorCode::corrupt, fmt::format("owner {}:{}", command.uid, command.gid));
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  struct stat before{};
  if (::fstat(object->fd(), &before) != 0) return fail_errno("stat");
  if (::fchownat(object->fd(), "", static_cast<uid_t>(command.uid), static_cast<gid_t>(command.gid),
                 AT_EMPTY_PATH) != 0)
    return fail_errno("chown");
  // chown(2) removes setuid and setgid. The stream only repeats the mode if the parent's differed.
  if (options_.hold_back || !object->is_file() || (before.st_mode & setid_bits) == 0) return {};
  return change_mode(*object, before.st_mode & permission_bits);
}

Status Session::operator()(const SetTimes& command) {
  if (options_.hold_back) return ConfinedTree::check_path(command.path);
  const Times times = {to_timespec(command.accessed), to_timespec(command.modified)};
  if (command.path.empty()) root_times_ = times;
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  return set_times(*object, times);
}

Status Session::remember_root_times() {
  ICBD_ASSIGN(const Object* root, tree_.object(""));
  struct stat status{};
  if (::fstat(root->fd(), &status) != 0) return fail_errno("stat");
  root_times_ = {status.st_atim, status.st_mtim};
  return {};
}

// A stream gives new and displaced files names in the root for a while. That changes the root's
// time here and did not at the sender, who therefore need not say anything of it.
Status Session::set_root_times() {
  if (options_.hold_back) return {};
  ICBD_ASSIGN(const Object* root, tree_.object(""));
  return set_times(*root, root_times_);
}

Status Session::operator()(const FileAttributes& command) {
  if (options_.hold_back) return ConfinedTree::check_path(command.path);
  ICBD_ASSIGN(const int flags, flags_of(command.attributes));
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  if ((command.attributes & verity_bit) != 0) ICBD_TRY(expect_verity(*object));
  ICBD_TRY(remember_decided(*object));
  if (!object->is_file() && !object->is_directory()) {
    if (flags == 0) return {};
    return fail(ErrorCode::unsupported, "flags of something that is no file or directory");
  }
  if ((flags & late_flags) == 0) return set_flags(object->fd(), flags);
  if (late_flags_.size() == late_flags_max)
    return fail(ErrorCode::unsupported,
                fmt::format("more than {} immutable or append-only files", late_flags_max));
  // Not one that could write: fs-verity may follow.
  ICBD_ASSIGN(unique_fd handle, open_at(AT_FDCWD, descriptor_path(object->fd()), O_PATH));
  late_flags_.push_back({std::move(handle), flags, dump(command)});
  return {};
}

Status Session::set_late_flags() {
  for (const LateFlags& late : late_flags_)
    if (auto status = set_flags(late.handle.get(), late.flags); !status)
      return std::unexpected(status.error().with_context(late.command));
  late_flags_.clear();
  return {};
}

Status Session::remember_decided(const Object& object) {
  struct stat status{};
  if (::fstat(object.fd(), &status) != 0) return fail_errno("stat");
  decided_.insert(status.st_ino);
  return {};
}

// The flag says that the file has fs-verity; only EnableVerity, which version 2 does not have, can
// give it that.
Status Session::expect_verity(const Object& object) {
  if (!object.is_file()) return fail(ErrorCode::corrupt, "fs-verity of something that is no file");
  ICBD_ASSIGN(const unique_fd fd, open_at(AT_FDCWD, descriptor_path(object.fd()), O_RDONLY));
  ICBD_ASSIGN(const int current, current_flags(fd.get()));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("stat");
  if ((current & FS_VERITY_FL) == 0) without_verity_.insert(status.st_ino);
  return {};
}

Status Session::operator()(const EnableVerity& command) {
  if (options_.hold_back)
    return fail(ErrorCode::unsupported, "fs-verity cannot come before the bytes of the file");
  // The kernel refuses (ETXTBSY) as long as a descriptor could write.
  tree_.forget_all();
  ICBD_ASSIGN(const int fd, tree_.readable(command.path));
  fsverity_enable_arg kernel{};
  kernel.version = 1;
  kernel.hash_algorithm = command.algorithm;
  kernel.block_size = command.block_size;
  kernel.salt_size = static_cast<std::uint32_t>(command.salt.size());
  kernel.salt_ptr = reinterpret_cast<std::uintptr_t>(command.salt.data());
  kernel.sig_size = static_cast<std::uint32_t>(command.signature.size());
  kernel.sig_ptr = reinterpret_cast<std::uintptr_t>(command.signature.data());
  if (::ioctl(fd, FS_IOC_ENABLE_VERITY, &kernel) != 0) {
    if (errno == ENOTTY || errno == EOPNOTSUPP)
      return fail(ErrorCode::unsupported,
                  "this kernel or this filesystem has no fs-verity, which the version needs");
    return fail_errno("enable fs-verity");
  }
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno("stat");
  without_verity_.erase(status.st_ino);
  return {};
}

Status Session::check_verity() const {
  if (without_verity_.empty()) return {};
  return fail(ErrorCode::unsupported,
              fmt::format("{} files have fs-verity in the version, but the stream does not give it "
                          "to them: send it with protocol version 3",
                          without_verity_.size()));
}

}  // namespace icbd::applier
