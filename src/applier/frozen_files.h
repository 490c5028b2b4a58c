// Immutable and append-only files of a snapshot, thawed while a stream is applied to it.
//
// Purpose: a snapshot of a version has that version's flags, and the stream of the next one does
// not take them off before it changes such a file: its sender saw the file without them.
// Lifecycle: thaw() after the snapshot was made, freeze() after the stream's end. Not thread-safe.
// Cost: thaw() looks at every name, some microseconds each.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::applier {

class FrozenFiles {
 public:
  // Takes both flags off everything below `root_fd`, a subvolume's root, itself included.
  Status thaw(int root_fd);
  // Puts them back, but not on inodes that are gone, nor on `decided` ones, of which the stream
  // itself has said what they have.
  Status freeze(int root_fd, const std::unordered_set<std::uint64_t>& decided) const;

 private:
  struct File {
    InodeNumber inode;
    int flags = 0;
  };
  // `name` in the directory; "." is the directory itself.
  Status thaw_name(int directory_fd, const char* name);
  Status thaw_entries(int directory_fd);

  std::vector<File> files_;
};

}  // namespace icbd::applier
