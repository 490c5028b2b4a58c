#include "inode_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "icbd/base/quote.h"

#include "beneath.h"

namespace icbd::repository {

using manifest::EntryType;

namespace {

Result<Bytes> read_xattr(const std::string& inode, const std::string& name) {
  Bytes value(limits::xattr_value_length);
  const ssize_t got = getxattr(inode.c_str(), name.c_str(), value.data(), value.size());
  if (got < 0) return fail_errno(fmt::format("read the attribute {}", name));
  value.resize(static_cast<std::size_t>(got));
  value.shrink_to_fit();
  return value;
}

}  // namespace

Result<struct statx> read_status(int fd, std::string_view path) {
  struct statx status{};
  if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_MNT_ID,
            &status) != 0)
    return fail_errno(fmt::format("stat {}", quote(path)));
  return status;
}

std::optional<EntryType> type_of(std::uint32_t mode) {
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

Result<std::vector<manifest::Xattr>> read_xattrs(int fd) {
  const std::string inode = descriptor_path(fd);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): zeros would cost more than the call.
  std::array<char, 65536> names;  // XATTR_LIST_MAX
  const ssize_t length = listxattr(inode.c_str(), names.data(), names.size());
  if (length < 0 && errno == EOPNOTSUPP) return std::vector<manifest::Xattr>();
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

std::unexpected<Error> over_limit(std::string_view path, std::string_view what, std::uint64_t value,
                                  std::uint64_t limit) {
  return fail(ErrorCode::too_large,
              fmt::format("{}: {} is {}, the limit is {}", quote(path), what, value, limit));
}

}  // namespace icbd::repository
