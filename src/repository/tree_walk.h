// The entries of a version, as they stand on disk.
#pragma once

#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/manifest/manifest.h"

namespace icbd::repository {

struct WalkedTree {
  // In manifest order, the root first; without digests and data_bytes.
  std::vector<manifest::Entry> entries;
  // What is not part of the version, for people.
  std::vector<std::string> warnings;
};

// Reads names and metadata below `root_fd`, the root of a subvolume that does not change
// meanwhile. Nested subvolumes, which a snapshot leaves out, are skipped with a warning. Over one
// of the named limits: `too_large`, naming the path.
Result<WalkedTree> walk_tree(int root_fd);

}  // namespace icbd::repository
