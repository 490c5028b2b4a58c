// Brings versions that are on disk back into a catalog that does not know them.
//
// Believed is a subvolume in its place, read-only and with the UUID that the facts beside its
// manifest name: it got its visible name after it was verified and committed.
#pragma once

#include <vector>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"
#include "icbd/repository/finding.h"

#include "layout.h"

namespace icbd::repository {

// Adds them in the order in which they were published. A number of which nothing can be believed
// is never given to another version. Without `act` the findings say what would be done.
Result<std::vector<Finding>> take_back_versions(const Layout& layout, catalog::Catalog& catalog,
                                                bool act);

// For a catalog that got lost: versions that were verified, but still had their hidden name, are
// compared with their manifests and renamed. Whoever had a catalog would know if they were
// committed.
std::vector<Finding> rename_verified_versions(const Layout& layout);

}  // namespace icbd::repository
