// From a read-only subvolume to its manifest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/catalog.h"
#include "icbd/manifest/manifest.h"
#include "icbd/repository/publish.h"

#include "inheritance.h"

namespace icbd::repository {

struct BuiltManifest {
  Digest digest;
  catalog::RootAttributes root;
  std::uint32_t entries = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t data_bytes = 0;
  std::uint64_t bytes_hashed = 0;
  std::uint64_t bytes_inherited = 0;
  std::vector<std::string> warnings;
};

// Adds all pages to `pages`. With a `previous` version (may be null), hashes what differs from it
// only; if that cannot be found out, says so in the log and hashes everything. The result is the
// same either way.
Result<BuiltManifest> build_manifest(int root_fd, const PreviousVersion* previous,
                                     manifest::PageStore& pages, PublishProgress& progress,
                                     const Logger& logger);

// What the catalog keeps of a version with this manifest: all but image, number, message and time.
catalog::VersionFacts facts_from(const BuiltManifest& built, const btrfs::SubvolumeInfo& info);
PublishReport report_of(BuiltManifest built, catalog::Version version);

}  // namespace icbd::repository
