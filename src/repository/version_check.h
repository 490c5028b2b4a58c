// One complete version of a repository, looked at from all sides, and repaired as far as it goes.
#pragma once

#include <vector>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"
#include "icbd/repository/fsck.h"

#include "layout.h"

namespace icbd::repository {

struct VersionCheck {
  const Layout& layout;
  catalog::Catalog& catalog;
  const FsckOptions& options;  // with a role
  FsckProgress& progress;
};

// Adds what it finds. An error only if the catalog cannot be written.
Status check_version(const VersionCheck& check, const catalog::Version& version,
                     std::vector<Finding>& findings);

}  // namespace icbd::repository
