// Getting manifest pages: from a version that is here, else from the source; verified either way.
#pragma once

#include <span>

#include "icbd/manifest/manifest.h"
#include "icbd/source/source.h"

namespace icbd::replicator {

// Adds the pages that are missing to `pages`. `parent` may be null.
Status take_pages(manifest::PageStore& pages, const Digest& manifest,
                  std::span<const Digest> wanted, const manifest::PageStore* parent,
                  source::Source& source);

}  // namespace icbd::replicator
