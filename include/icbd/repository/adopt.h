// Adopting: read-only snapshots that are there already become versions where they are.
//
// Purpose: directories of btrbk, snapper or by hand. The snapshot is neither moved nor changed: the
// catalog remembers its path and subvolume id, and every opening checks both, its UUID, and that it
// is read-only. Whoever removes it removes the version: fsck and the log say so.
// Its manifest is hashed like that of a publication, taking over what the kernel says has not
// changed since the previous version; order: manifest -> sync -> facts -> catalog.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "icbd/repository/publish.h"
#include "icbd/repository/repository.h"

namespace icbd::repository {

struct AdoptionRequest {
  std::string image;  // made if it is new
  // Subvolumes on the repository's filesystem, or directories that have one named "snapshot", as
  // snapper makes them; absolute.
  std::vector<std::filesystem::path> paths;
  bool keep_order = false;  // as given, not by the time at which they were made
};

struct AdoptionCandidate {
  std::filesystem::path path;
  SubvolumeId subvolume;
  Uuid uuid;
  Timestamp created;
};

// What would become versions, in their order; nothing is changed. Refused, with the path and a
// reason: what is not the root of a read-only subvolume on the repository's filesystem, or lies in
// the repository or in another candidate; two with one identity; one that is a version already.
Result<std::vector<AdoptionCandidate>> plan_adoption(Repository& repository,
                                                     const AdoptionRequest& request);

// Makes one of the planned the next version of the image; waits for a publication under way. One
// that is this image's version already, because a stop came in between, is left as it is.
// `cancelled` leaves nothing behind.
Result<PublishReport> adopt(Repository& repository, const catalog::Adoption& adoption,
                            PublishProgress& progress);

}  // namespace icbd::repository
