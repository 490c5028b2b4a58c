// The content of an arriving version: names from the staging subvolume, attributes from the
// manifest (the shape holds some back until every byte is here), bytes from both.
#pragma once

#include <functional>
#include <memory>

#include "icbd/library/complete_tree.h"
#include "icbd/replicator/arrival.h"

namespace icbd::cache {

class ArrivingTree final : public library::CompleteTree {
 public:
  // Called with the number of bytes whenever somebody reads from a file; the arrival lives.
  using NoteRead = std::function<void(std::uint64_t bytes)>;
  ArrivingTree(std::shared_ptr<replicator::Arrival> arrival, NoteRead note_read);

  bool complete() const override { return false; }
  bool whole(InodeNumber inode) override;
  Result<fs::Attributes> attributes(InodeNumber inode) override;
  Result<fs::Attributes> lookup(InodeNumber directory, const std::string& name) override;
  Result<Bytes> xattr(InodeNumber inode, const std::string& name) override;
  Result<std::vector<std::string>> xattr_names(InodeNumber inode) override;
  Result<std::shared_ptr<fs::OpenFile>> open(InodeNumber inode) override;

 private:
  Result<const manifest::Entry*> entry_of(InodeNumber inode) const;
  Result<fs::Attributes> overlay(fs::Attributes attributes) const;

  std::shared_ptr<replicator::Arrival> arrival_;
  NoteRead note_read_;
};

}  // namespace icbd::cache
