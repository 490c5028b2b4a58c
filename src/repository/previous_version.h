// The next version's manifest, with what it has in common with the version before.
#pragma once

#include <optional>
#include <string>

#include "icbd/catalog/catalog.h"
#include "icbd/repository/repository.h"

#include "manifest_build.h"

namespace icbd::repository {

Result<std::optional<catalog::Version>> newest_complete(Repository& repository,
                                                        const std::string& image);

// Compared with the parent if there is one and it can be read: reading everything is slower, but
// gives the same manifest.
Result<BuiltManifest> build_next_manifest(Repository& repository, int root_fd,
                                          const std::optional<catalog::Version>& parent,
                                          manifest::PageStore& pages, PublishProgress& progress);

}  // namespace icbd::repository
