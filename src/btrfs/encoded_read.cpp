#include "icbd/btrfs/encoded_read.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

#include "describe.h"

namespace icbd::btrfs {
namespace {

bool is_compress_option(std::string_view option) {
  return option.starts_with("compress=") || option.starts_with("compress-force=");
}

// A line of proc_pid_mountinfo(5): the mount's id first, the filesystem's own options last.
bool is_mounted_compressed(const std::string& line, std::uint64_t mount) {
  std::istringstream words(line);
  std::uint64_t id = 0;
  words >> id;
  if (!words || id != mount) return false;
  std::istringstream options(line.substr(line.rfind(' ') + 1));
  for (std::string option; std::getline(options, option, ',');)
    if (is_compress_option(option)) return true;
  return false;
}

bool is_mounted_compressed(int fd) {
  struct statx status{};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0) return false;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);)
    if (is_mounted_compressed(line, status.stx_mnt_id)) return true;
  return false;
}

}  // namespace

Result<EncodedRead> encoded_read(int fd, std::uint64_t offset, std::span<std::byte> buffer) {
  const iovec data{.iov_base = buffer.data(), .iov_len = buffer.size()};
  btrfs_ioctl_encoded_io_args kernel{};
  kernel.iov = &data;
  kernel.iovcnt = 1;
  kernel.offset = static_cast<__s64>(offset);
  int result;
  do result = ioctl(fd, BTRFS_IOC_ENCODED_READ, &kernel);
  while (result < 0 && errno == EINTR);
  if (result >= 0 && kernel.encryption == BTRFS_ENCODED_IO_ENCRYPTION_NONE)
    return EncodedRead{.length = static_cast<std::size_t>(result),
                       .file_length = kernel.len,
                       .unencoded_offset = kernel.unencoded_offset,
                       .unencoded_length = kernel.unencoded_len,
                       .compression = kernel.compression};
  const int cause = result < 0 ? errno : EOPNOTSUPP;
  const Error error = Error::from_errno(
      fmt::format("read a compressed extent at {} of {}", offset, describe(fd)), cause);
  if (cause == ENOTTY || cause == EINVAL || cause == EPERM || cause == EOPNOTSUPP)
    return std::unexpected(Error(ErrorCode::unsupported, error.message(), cause));
  return std::unexpected(error);
}

bool wants_compression(int fd) {
  int flags = 0;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_COMPR_FL) != 0) return true;
  return is_mounted_compressed(fd);
}

}  // namespace icbd::btrfs
