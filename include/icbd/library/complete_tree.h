// The content of a version from its subvolume: what the filesystem says is what the view says.
//
// Base of the cache's ArrivingTree, which overrides what the manifest knows better. Files are found
// by inode number, so that nothing has to be remembered between requests.
#pragma once

#include <functional>
#include <memory>

#include "icbd/fs/library.h"
#include "icbd/replicator/staging.h"

namespace icbd::library {

class CompleteTree : public fs::Tree {
 public:
  // Called when the subvolume is not what it was: deleted, or open to changes. Readers get ESTALE
  // then, upon which the kernel looks their path up again.
  using Damaged = std::function<void()>;
  // `owner` keeps the subvolume alive; `generation` is the version's.
  CompleteTree(std::shared_ptr<const void> owner, const replicator::Staging& subvolume,
               std::uint64_t generation, Damaged damaged = {})
      : owner_(std::move(owner)),
        subvolume_(subvolume),
        generation_(generation),
        damaged_(std::move(damaged)) {}

  bool complete() const override { return true; }
  bool whole(InodeNumber) override { return true; }
  std::uint64_t generation() const override { return generation_; }
  Result<fs::Attributes> attributes(InodeNumber inode) override;
  Result<fs::Attributes> lookup(InodeNumber directory, const std::string& name) override;
  Result<std::vector<fs::DirectoryEntry>> list(InodeNumber directory) override;
  Result<std::string> read_link(InodeNumber inode) override;
  Result<Bytes> xattr(InodeNumber inode, const std::string& name) override;
  Result<std::vector<std::string>> xattr_names(InodeNumber inode) override;
  Result<std::shared_ptr<fs::OpenFile>> open(InodeNumber inode) override;

 protected:
  const replicator::Staging& subvolume() const { return subvolume_; }
  // A descriptor for reading; invalid_argument unless it is a regular file.
  Result<unique_fd> open_for_reading(InodeNumber inode) const;
  Result<unique_fd> open_inode(InodeNumber inode, int flags) const;

 private:
  std::shared_ptr<const void> owner_;
  const replicator::Staging& subvolume_;
  const std::uint64_t generation_;
  const Damaged damaged_;
};

}  // namespace icbd::library
