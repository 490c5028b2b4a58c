// A manifest's entries as the names that a stream's effects are followed from.
#pragma once

#include <span>
#include <vector>

#include "icbd/manifest/manifest.h"
#include "icbd/sendstream/tree_model.h"

namespace icbd::repository {

// Names of one inode share the index of the entry that has its data. The names are views into the
// entries' paths. The entries are those of a whole manifest, as manifest::Reader gives them.
std::vector<sendstream::ParentName> parent_names(std::span<const manifest::Entry> entries);

}  // namespace icbd::repository
