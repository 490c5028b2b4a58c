// Brings catalog and filesystem together again after a stop at any point.
//
// Purpose: the catalog decides. What it calls complete is renamed into place if that is all that
// is missing; an arrival that it does not call shaped, a publication that it does not know, and
// manifests and pending maps of neither are removed. What a person may have made or changed (a
// number that the catalog does not know, a complete version that is gone, writable or another) is
// reported and left: `icbd fsck` looks deeper and may repair.
// Guarantees: only a catalog that cannot be read or written is an error; everything else is a
// finding, and the node goes on. Without `act` nothing is changed, and the findings say what would
// be done. Doing it again finds nothing new. Bytes of a version that the catalog calls complete
// are never removed.
#pragma once

#include <cstdint>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/catalog/catalog.h"
#include "icbd/repository/finding.h"

#include "layout.h"

namespace icbd::repository {

struct RecoveryOptions {
  bool act = true;
  // Manifests are looked into up to so many bytes together, newest version first: a start must not
  // wait for gigabytes to be hashed. Those beyond are checked when they are used, page by page.
  std::uint64_t manifest_bytes_max = std::uint64_t{64} << 20;
};

Result<std::vector<Finding>> recover(const Layout& layout, catalog::Catalog& catalog,
                                     RecoveryOptions options = {});

// Each on a line of its own: what is left to do as a warning or error.
void log_findings(const Logger& logger, const std::vector<Finding>& findings);

// True if anything is here that a catalog should know of: what must not meet an empty one.
bool holds_versions(const Layout& layout);

}  // namespace icbd::repository
