#include "harness/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "icbd/base/file.h"

namespace icbd::harness {
namespace {

constexpr std::size_t read_size = 1024 * 1024;

std::string type_name(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    default:
      return "unknown";
  }
}

Result<std::string> link_target(const std::filesystem::path& path) {
  std::error_code error;
  auto target = std::filesystem::read_symlink(path, error);
  if (error) return fail_errno(fmt::format("readlink {}", path.string()), error.value());
  return target.string();
}

Result<std::string> xattr_value(const std::filesystem::path& path, const std::string& name) {
  const ssize_t size = lgetxattr(path.c_str(), name.c_str(), nullptr, 0);
  if (size < 0) return fail_errno(fmt::format("getxattr {} of {}", name, path.string()));
  std::string value(static_cast<std::size_t>(size), '\0');
  const ssize_t got = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  if (got < 0) return fail_errno(fmt::format("getxattr {} of {}", name, path.string()));
  value.resize(static_cast<std::size_t>(got));
  return value;
}

Result<std::map<std::string, std::string>> xattrs_of(const std::filesystem::path& path,
                                                     const std::string& ignored_prefix) {
  const ssize_t size = llistxattr(path.c_str(), nullptr, 0);
  if (size < 0) return fail_errno(fmt::format("listxattr {}", path.string()));
  std::string names(static_cast<std::size_t>(size), '\0');
  const ssize_t got = llistxattr(path.c_str(), names.data(), names.size());
  if (got < 0) return fail_errno(fmt::format("listxattr {}", path.string()));
  names.resize(static_cast<std::size_t>(got));
  std::map<std::string, std::string> result;
  for (std::size_t begin = 0; begin < names.size();) {
    const std::string name(names.c_str() + begin);
    begin += name.size() + 1;
    if (!ignored_prefix.empty() && name.starts_with(ignored_prefix)) continue;
    ICBD_ASSIGN(result[name], xattr_value(path, name));
  }
  return result;
}

class TreeReader {
 public:
  TreeReader(std::filesystem::path root, const DescribeOptions& options)
      : root_(std::move(root)), options_(options) {}

  Result<Tree> read() {
    ICBD_TRY(visit(""));
    name_links();
    return std::move(tree_);
  }

 private:
  Status visit(const std::string& relative) {
    const std::filesystem::path path = relative.empty() ? root_ : root_ / relative;
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) return fail_errno(fmt::format("stat {}", path.string()));
    if (relative.empty()) device_ = status.st_dev;
    // Another subvolume or mount: only that it is there.
    if (status.st_dev != device_) {
      tree_[relative].type = "mount point";
      return {};
    }
    ICBD_TRY(describe(relative, path, status));
    if (!S_ISDIR(status.st_mode)) return {};
    std::error_code error;
    std::filesystem::directory_iterator names(path, error);
    for (; !error && names != std::filesystem::directory_iterator(); names.increment(error))
      ICBD_TRY(visit((std::filesystem::path(relative) / names->path().filename()).string()));
    if (error) return fail_errno(fmt::format("list {}", path.string()), error.value());
    return {};
  }

  Status describe(const std::string& relative, const std::filesystem::path& path,
                  const struct stat& status) {
    FileFacts& facts = tree_[relative];
    facts.type = type_name(status.st_mode);
    facts.mode = status.st_mode & 07777;
    facts.uid = status.st_uid;
    facts.gid = status.st_gid;
    facts.modified = {status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
    if (S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode)) facts.device = status.st_rdev;
    if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) inodes_[status.st_ino].push_back(relative);
    ICBD_ASSIGN(facts.xattrs, xattrs_of(path, options_.ignored_xattr_prefix));
    if (S_ISLNK(status.st_mode)) {
      ICBD_ASSIGN(facts.target, link_target(path));
    }
    if (S_ISREG(status.st_mode)) {
      facts.size = static_cast<std::uint64_t>(status.st_size);
      ICBD_ASSIGN(facts.content, hash_file(path));
    }
    return {};
  }

  void name_links() {
    for (const auto& [inode, paths] : inodes_) {
      const std::string& first = *std::min_element(paths.begin(), paths.end());
      for (const std::string& path : paths) tree_[path].linked_with = first;
    }
  }

  std::filesystem::path root_;
  const DescribeOptions& options_;
  dev_t device_ = 0;
  Tree tree_;
  std::map<ino_t, std::vector<std::string>> inodes_;
};

// Collects what differs between two entries as "name: expected -> actual".
class FactsDiff {
 public:
  explicit FactsDiff(const std::string& path) : path_(path) {}

  template <typename Value>
  void compare(std::string_view fact, const Value& expected, const Value& actual) {
    if (expected == actual) return;
    text_ += fmt::format("{}: {} is {}, expected {}\n", path_.empty() ? "(root)" : path_, fact,
                         actual, expected);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string path_;
  std::string text_;
};

std::string printable(const std::map<std::string, std::string>& xattrs) {
  std::string text = "{";
  for (const auto& [name, value] : xattrs) {
    text += name + "=";
    for (const char c : value) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    text += " ";
  }
  return text + "}";
}

std::string diff_facts(const std::string& path, const FileFacts& expected,
                       const FileFacts& actual) {
  FactsDiff diff(path);
  diff.compare("type", expected.type, actual.type);
  diff.compare("mode", fmt::format("{:04o}", expected.mode), fmt::format("{:04o}", actual.mode));
  diff.compare("uid", expected.uid, actual.uid);
  diff.compare("gid", expected.gid, actual.gid);
  diff.compare("device", expected.device, actual.device);
  diff.compare("size", expected.size, actual.size);
  const auto time = [](Timestamp when) {
    return fmt::format("{}.{:09}", when.seconds, when.nanoseconds);
  };
  diff.compare("mtime", time(expected.modified), time(actual.modified));
  diff.compare("linked with", expected.linked_with, actual.linked_with);
  diff.compare("target", expected.target, actual.target);
  diff.compare("xattrs", printable(expected.xattrs), printable(actual.xattrs));
  diff.compare("content", expected.content, actual.content);
  return diff.take();
}

}  // namespace

Result<Tree> describe_tree(const std::filesystem::path& root, const DescribeOptions& options) {
  return TreeReader(root, options).read();
}

std::string diff_trees(const Tree& expected, const Tree& actual) {
  std::string text;
  for (const auto& [path, facts] : expected) {
    const auto found = actual.find(path);
    if (found == actual.end())
      text += fmt::format("{}: is missing\n", path);
    else
      text += diff_facts(path, facts, found->second);
  }
  for (const auto& [path, facts] : actual)
    if (!expected.contains(path)) text += fmt::format("{}: is there, but not expected\n", path);
  return text;
}

std::string diff_trees(const std::filesystem::path& expected, const std::filesystem::path& actual) {
  const auto expected_tree = describe_tree(expected);
  if (!expected_tree) return expected_tree.error().message();
  const auto actual_tree = describe_tree(actual);
  if (!actual_tree) return actual_tree.error().message();
  return diff_trees(*expected_tree, *actual_tree);
}

Result<std::string> hash_file(const std::filesystem::path& path) {
  ICBD_ASSIGN(const unique_fd file, open_file(path, O_RDONLY | O_NOFOLLOW));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  Bytes buffer(read_size);
  for (std::uint64_t offset = 0;;) {
    const auto got = read_at(file.get(), buffer, offset);
    if (!got) return std::unexpected(got.error().with_context(path.string()));
    if (*got == 0) break;
    EVP_DigestUpdate(context.get(), buffer.data(), *got);
    offset += *got;
  }
  Digest digest;
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.bytes.data()), nullptr);
  return digest.to_string();
}

}  // namespace icbd::harness
