// Brings catalog and filesystem together again after a stop at any point.
//
// Purpose: the catalog decides. What it calls complete is renamed into place if that is all that
// is missing; an arrival that it does not call shaped, a publication that it does not know, and
// manifests and pending maps of neither are removed. What a person may have made (a number that
// the catalog does not know) is reported and left.
// Guarantees: only a catalog that cannot be read or written is an error: everything else is logged
// and the node goes on. Doing it again changes nothing.
#pragma once

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/catalog/catalog.h"

#include "layout.h"

namespace icbd::repository {

Status recover(const Layout& layout, catalog::Catalog& catalog, const Logger& logger);

}  // namespace icbd::repository
