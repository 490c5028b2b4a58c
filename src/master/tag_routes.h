// Tags of versions, which the master gives.
#pragma once

#include "icbd/rest/api.h"

namespace icbd::master {

// PUT and DELETE /api/images/IMAGE/tags/TAG. The catalog must outlive the router.
void add_tag_routes(rest::Router& router, const rest::CatalogReader& reader,
                    catalog::Catalog& catalog);

}  // namespace icbd::master
