#include "icbd/btrfs/encoded_write.h"

#include <fmt/format.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <cerrno>

#include "describe.h"

namespace icbd::btrfs {

Status encoded_write(int fd, const EncodedExtent& extent) {
  // The kernel only reads from it.
  const iovec data{.iov_base = const_cast<std::byte*>(extent.data.data()),
                   .iov_len = extent.data.size()};
  btrfs_ioctl_encoded_io_args kernel{};
  kernel.iov = &data;
  kernel.iovcnt = 1;
  kernel.offset = static_cast<__s64>(extent.offset);
  kernel.len = extent.file_length;
  kernel.unencoded_len = extent.unencoded_length;
  kernel.unencoded_offset = extent.unencoded_offset;
  kernel.compression = extent.compression;
  kernel.encryption = BTRFS_ENCODED_IO_ENCRYPTION_NONE;
  int result;
  do result = ioctl(fd, BTRFS_IOC_ENCODED_WRITE, &kernel);
  while (result < 0 && errno == EINTR);
  if (result >= 0) return {};
  const int cause = errno;
  const Error error = Error::from_errno(
      fmt::format("write a compressed extent at {} of {}", extent.offset, describe(fd)), cause);
  if (cause == ENOTTY || cause == EINVAL || cause == EPERM || cause == ENOSPC ||
      cause == EOPNOTSUPP)
    return std::unexpected(Error(ErrorCode::unsupported, error.message(), cause));
  return std::unexpected(error);
}

}  // namespace icbd::btrfs
