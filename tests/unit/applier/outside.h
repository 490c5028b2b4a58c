// Everything that a stream must not touch, down to the times of the last change.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "harness/tree.h"

namespace icbd::applier {

// Purpose: taken before and after a stream was applied, two of them must be the same: content,
// metadata, xattrs (by describe_tree()), and of each inode its number, its number of links and its
// time of change, which no program can set.
class Outside {
 public:
  explicit Outside(const std::vector<std::filesystem::path>& roots) {
    for (const auto& root : roots) add(root);
  }

  // One line per difference.
  std::string difference(const Outside& now) const {
    std::string lines;
    for (const auto& [root, tree] : trees_) lines += harness::diff_trees(tree, now.trees_.at(root));
    for (const auto& [path, inode] : inodes_) {
      const auto found = now.inodes_.find(path);
      if (found == now.inodes_.end() || found->second != inode) lines += path + ": touched\n";
    }
    if (now.inodes_.size() > inodes_.size()) lines += "there are new files\n";
    return lines;
  }
  std::size_t size() const { return inodes_.size(); }

 private:
  struct Inode {
    ino_t number;
    nlink_t links;
    time_t changed_seconds;
    long changed_nanoseconds;
    bool operator==(const Inode&) const = default;
  };

  void add(const std::filesystem::path& root) {
    if (auto tree = harness::describe_tree(root)) trees_[root] = std::move(*tree);
    add_inode(root);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
      add_inode(entry.path());
  }
  void add_inode(const std::filesystem::path& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return;
    inodes_[path.string()] = {status.st_ino, status.st_nlink, status.st_ctim.tv_sec,
                              status.st_ctim.tv_nsec};
  }

  std::map<std::filesystem::path, harness::Tree> trees_;
  std::map<std::string, Inode> inodes_;
};

}  // namespace icbd::applier
