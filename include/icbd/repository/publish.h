// Publishing: a subvolume becomes the next version of an image.
//
// Order: writable snapshot -> read-only -> manifest (hashing only what the kernel's
// metadata-only send says has changed since the previous version) -> sync -> catalog commit ->
// rename. The snapshot is writable first because a snapshot of a received read-only subvolume
// keeps its received UUID, and two versions would share one identity.
// A failure at any point leaves nothing behind but a hidden subvolume that is removed at once or
// at the next start.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "icbd/repository/repository.h"

namespace icbd::repository {

struct PublishRequest {
  std::string image;           // made if it is new
  std::filesystem::path path;  // a subvolume on the repository's filesystem, absolute
  std::string message;
};

// Counts while publishing; read by others.
struct PublishProgress {
  std::atomic<std::uint64_t> bytes_total = 0;  // to be hashed; 0 until it is known
  std::atomic<std::uint64_t> bytes_done = 0;
  std::atomic<bool> cancelled = false;  // set by whoever does not want it any more
};

struct PublishReport {
  catalog::Version version;
  std::uint64_t bytes_hashed = 0;     // read and hashed now
  std::uint64_t bytes_inherited = 0;  // taken over from the previous version's manifest
  std::vector<std::string> warnings;  // for example a nested subvolume, which a snapshot leaves out
};

// One at a time per repository (busy otherwise).
Result<PublishReport> publish(Repository& repository, const PublishRequest& request,
                              PublishProgress& progress);

}  // namespace icbd::repository
