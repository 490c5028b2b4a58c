// From a version that is only known to content that can be read: manifest and shape.
//
// Purpose: fetch_shape() asks the source for the manifest's root and entries and for the shape
// against the best parent that is here, applies it to a writable snapshot of that parent (or to an
// empty subvolume), and checks that the names and types of the result are the manifest's.
// resume_content() makes the same of a staging subvolume whose shape was committed before a
// restart. Neither touches the catalog.
// On failure, fetch_shape() leaves a staging subvolume behind that the caller discards.
#pragma once

#include <memory>
#include <span>

#include "icbd/applier/applier.h"
#include "icbd/base/log.h"
#include "icbd/replicator/content.h"
#include "icbd/repository/repository.h"

namespace icbd::replicator {

// `candidates`: complete versions to offer as parents, best first.
Result<std::shared_ptr<Content>> fetch_shape(repository::Repository& repository,
                                             LocalVersions& local, source::Source& source,
                                             const catalog::Version& version,
                                             std::span<const catalog::Version> candidates,
                                             const applier::Policy& policy);

// `wanted` is set to whether it was being filled.
Result<std::shared_ptr<Content>> resume_content(repository::Repository& repository,
                                                LocalVersions& local, source::Source& source,
                                                const catalog::Version& version, bool& wanted);

}  // namespace icbd::replicator
