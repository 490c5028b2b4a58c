// What a tree of files is, down to the bytes, for comparing two of them.
//
// Purpose: tests compare a version on the master with the same version in a cache's store or
// through its view. Follows no symlink and stays on one filesystem.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::harness {

struct FileFacts {
  std::string type;  // "file", "directory", "symlink", "character device", …
  std::uint32_t mode = 0;
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t device = 0;  // of device nodes
  std::uint64_t size = 0;    // files only
  Timestamp modified;
  std::string linked_with;  // the first path, in order, of the same inode
  std::string target;       // symlinks
  std::map<std::string, std::string> xattrs;
  std::string content;  // files: SHA-256
  bool operator==(const FileFacts&) const = default;
};

// By path relative to the root, which is "".
using Tree = std::map<std::string, FileFacts>;

struct DescribeOptions {
  // A view adds xattrs of its own.
  std::string ignored_xattr_prefix = "user.icbd.";
};

Result<Tree> describe_tree(const std::filesystem::path& root, const DescribeOptions& options = {});
// One line per difference, "" if there is none: made for EXPECT_EQ(diff_trees(a, b), "").
std::string diff_trees(const Tree& expected, const Tree& actual);
// Describes both and compares; an unreadable tree is a difference.
std::string diff_trees(const std::filesystem::path& expected, const std::filesystem::path& actual);

// SHA-256 of a file's content in hexadecimal, of any size.
Result<std::string> hash_file(const std::filesystem::path& path);

}  // namespace icbd::harness
