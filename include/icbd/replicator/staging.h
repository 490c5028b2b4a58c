// The staging subvolume of an arriving version, and the same subvolume once it is complete.
//
// Purpose: files are named by inode number, opened by file handle: no path is resolved after the
// shape has been checked, and a rename of the subvolume changes nothing. Landing keeps the inodes,
// so descriptors that were opened here go on.
// Lifecycle: open() by path; the root descriptor is held until destruction. Writable descriptors
// are the caller's and must be closed before landing: the read-only flag does not stop them.
// Thread-safe: every call is a system call on its own descriptor.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/manifest/manifest.h"

namespace icbd::replicator {

class Staging {
 public:
  static Result<Staging> open(const std::filesystem::path& subvolume);
  // Of the subvolume whose root directory is given.
  static Result<Staging> take(unique_fd root);

  int root_fd() const { return root_.get(); }
  SubvolumeId id() const { return id_; }
  Result<unique_fd> open_inode(InodeNumber inode, int flags) const;

  struct Child {
    std::string name;
    InodeNumber inode;
    std::uint32_t file_type = 0;  // st_mode & S_IFMT
  };
  // What is in a directory, by name; without "." and "..", and without the places of nested
  // subvolumes, which belong to no version.
  Result<std::vector<Child>> list(InodeNumber directory) const;

  // One name below the root, as a walk finds it.
  struct Name {
    std::string path;
    InodeNumber inode;
    std::uint32_t file_type = 0;  // st_mode & S_IFMT
  };
  // Every name, in manifest order, the root ("") first.
  Result<std::vector<Name>> walk() const;

 private:
  Staging(unique_fd root, SubvolumeId id) : root_(std::move(root)), id_(id) {}
  unique_fd root_;
  SubvolumeId id_;
};

// Sets what the shape held back (mode, times, capabilities, attributes) and anything else that
// differs, so that the inode is what the manifest says. Returns what had to be mended although
// nothing was held back there (empty if nothing): worth a warning. `corrupt` if it cannot be
// mended: another type or size (devices and symlink targets were compared with the shape).
Result<std::string> finish_inode(const Staging& staging, InodeNumber inode,
                                 const manifest::Entry& entry);
// Clears immutable and append-only attributes, so that a stream can be applied.
Status thaw_inode(const Staging& staging, InodeNumber inode);

}  // namespace icbd::replicator
