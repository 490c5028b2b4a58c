#include "icbd/library/complete_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::library {
namespace {

// A file of a complete version: everything is here.
class CompleteFile final : public fs::OpenFile {
 public:
  explicit CompleteFile(unique_fd file) : file_(std::move(file)) {}

  int descriptor_if_whole() const override { return file_.get(); }
  bool is_local(ByteRange) const override { return true; }
  Result<std::size_t> read_local(std::span<std::byte> buffer, std::uint64_t offset) override {
    return read_at(file_.get(), buffer, offset);
  }
  void read(ByteRange range, ReadDone done) override {
    Bytes bytes(range.length);
    const auto got = read_local(bytes, range.offset);
    if (!got) return done(std::unexpected(got.error()));
    bytes.resize(*got);
    done(std::move(bytes));
  }
  Result<std::uint64_t> seek(std::uint64_t offset, int whence) override {
    // Nobody reads through the descriptor's own position, so moving it disturbs nobody.
    const off_t found = ::lseek(file_.get(), static_cast<off_t>(offset), whence);
    if (found < 0) return fail_errno("lseek");
    return static_cast<std::uint64_t>(found);
  }

 private:
  unique_fd file_;
};

Result<fs::Attributes> stat_inode(const unique_fd& fd) {
  fs::Attributes attributes{};
  if (::fstat(fd.get(), &attributes) != 0) return fail_errno("stat");
  return attributes;
}

std::string link_of(const unique_fd& fd) {
  return fmt::format("/proc/self/fd/{}", fd.get());
}

}  // namespace

Result<unique_fd> CompleteTree::open_inode(InodeNumber inode, int flags) const {
  auto opened = subvolume_.open_inode(inode, flags);
  if (!opened && damaged_ && opened.error().errno_value() == ESTALE) damaged_();
  return opened;
}

Result<fs::Attributes> CompleteTree::attributes(InodeNumber inode) {
  ICBD_ASSIGN(const unique_fd fd, open_inode(inode, O_PATH | O_NOFOLLOW));
  return stat_inode(fd);
}

Result<fs::Attributes> CompleteTree::lookup(InodeNumber directory, const std::string& name) {
  ICBD_ASSIGN(const unique_fd parent, open_inode(directory, O_PATH));
  fs::Attributes root{}, attributes{};
  if (::fstat(subvolume_.root_fd(), &root) != 0) return fail_errno("stat a version's root");
  if (::fstatat(parent.get(), name.c_str(), &attributes, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(name);
  // The place of a nested subvolume lies on another device; it belongs to no version.
  if (attributes.st_dev != root.st_dev) return fail_errno(name, ENOENT);
  return attributes;
}

Result<std::vector<fs::DirectoryEntry>> CompleteTree::list(InodeNumber directory) {
  ICBD_TRY(open_inode(directory, O_PATH));  // so that what is gone is noticed
  ICBD_ASSIGN(const auto children, subvolume_.list(directory));
  std::vector<fs::DirectoryEntry> entries;
  entries.reserve(children.size());
  for (const auto& child : children) entries.push_back({child.name, child.inode, child.file_type});
  return entries;
}

Result<std::string> CompleteTree::read_link(InodeNumber inode) {
  ICBD_ASSIGN(const unique_fd fd, open_inode(inode, O_PATH | O_NOFOLLOW));
  std::array<char, limits::path_length> target{};
  const ssize_t length = ::readlinkat(fd.get(), "", target.data(), target.size());
  if (length < 0) return fail_errno("readlink");
  return std::string(target.data(), static_cast<std::size_t>(length));
}

Result<Bytes> CompleteTree::xattr(InodeNumber inode, const std::string& name) {
  ICBD_ASSIGN(const unique_fd fd, open_inode(inode, O_PATH | O_NOFOLLOW));
  Bytes value(limits::xattr_value_length);
  const ssize_t size = ::getxattr(link_of(fd).c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return fail_errno(name);
  value.resize(static_cast<std::size_t>(size));
  return value;
}

Result<std::vector<std::string>> CompleteTree::xattr_names(InodeNumber inode) {
  ICBD_ASSIGN(const unique_fd fd, open_inode(inode, O_PATH | O_NOFOLLOW));
  std::string list(limits::xattr_value_length, '\0');
  const ssize_t size = ::listxattr(link_of(fd).c_str(), list.data(), list.size());
  if (size < 0) return fail_errno("listxattr");
  list.resize(static_cast<std::size_t>(size));
  std::vector<std::string> names;
  for (std::size_t at = 0; at < list.size(); at += names.back().size() + 1)
    names.emplace_back(&list[at]);
  return names;
}

Result<unique_fd> CompleteTree::open_for_reading(InodeNumber inode) const {
  ICBD_ASSIGN(const unique_fd path, open_inode(inode, O_PATH | O_NOFOLLOW));
  ICBD_ASSIGN(const fs::Attributes attributes, stat_inode(path));
  // Opening a device or a pipe here would open this machine's, not the image's.
  if (!S_ISREG(attributes.st_mode))
    return fail(ErrorCode::invalid_argument, "only regular files can be opened");
  return open_inode(inode, O_RDONLY | O_NOFOLLOW | O_NOATIME);
}

Result<std::shared_ptr<fs::OpenFile>> CompleteTree::open(InodeNumber inode) {
  if (damaged_ && !btrfs::is_read_only(subvolume_.root_fd())) {
    damaged_();
    return fail_errno("open a file of a version that somebody may have changed", ESTALE);
  }
  ICBD_ASSIGN(unique_fd file, open_for_reading(inode));
  return std::make_shared<CompleteFile>(std::move(file));
}

}  // namespace icbd::library
