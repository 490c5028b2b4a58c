// Which inodes of a staging subvolume are still its parent's own.
//
// Purpose: staging is a snapshot of its parent, and of a tree of 100,000 files a version changes a
// few. An inode that the filesystem has not updated since the parent was landed is the parent's,
// metadata and bytes: where the parent's entry says what the new manifest says, there is nothing to
// look at. So checks and landings follow what has changed.
// What is believed is the filesystem (icbd/btrfs/changed_inodes.h) and that the parent is what its
// manifest says; nothing that this process remembers of what it did.
// Lifecycle: look() when everything is synced; what is written after that is not noticed.
// Immutable, so thread-safe.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "icbd/replicator/local_versions.h"
#include "icbd/replicator/staging.h"

namespace icbd::replicator {

class SharedInodes {
 public:
  // None are.
  SharedInodes() = default;
  // `parent` may be null: then none are.
  static Result<SharedInodes> look(const Staging& staging,
                                   std::shared_ptr<const LocalVersion> parent);

  // The parent's entry whose very inode this is; null if it is new or was changed in any way.
  const manifest::Entry* find(InodeNumber inode) const;

 private:
  std::shared_ptr<const LocalVersion> parent_;
  std::vector<InodeNumber> changed_;                       // sorted
  std::vector<std::pair<InodeNumber, FileIndex>> inodes_;  // of the parent, sorted by number
};

// Whether two entries describe inodes alike, whatever they are called and whatever is in them.
bool same_metadata(const manifest::Entry& a, const manifest::Entry& b);
// Whether they have the same content.
bool same_content(const manifest::Entry& a, const manifest::Entry& b);

}  // namespace icbd::replicator
