// Holds a version's subvolume against its manifest.
//
// The manifest decides: what differs from it is damaged, whatever the filesystem says.
#pragma once

#include <string>

#include "icbd/base/error.h"
#include "icbd/manifest/manifest.h"

#include "chunk_hasher.h"

namespace icbd::repository {

// Reads every page that the manifest has and checks it against its digest, sums and order.
Status check_manifest_pages(const manifest::PageStore& pages, const Digest& manifest);

// Both return what differs, in words ("1 names differ: "etc/passwd" has another size"); empty if
// nothing does. A tree or file that cannot be read differs too. Errors are those of the manifest.
Result<std::string> metadata_differences(int root_fd, const manifest::Reader& reader);
// Only files that are on both sides with the same size.
Result<std::string> data_differences(int root_fd, const manifest::Reader& reader,
                                     HashProgress progress);

}  // namespace icbd::repository
