// Finding a version by what it is called everywhere.
#pragma once

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"
#include "icbd/base/uuid.h"

namespace icbd::btrfs {

// The root directory of a read-only subvolume below the directory `directory_fd` that was received
// with this UUID; else of one whose own UUID it is. `not_found` if there is none. Writable ones do
// not count: they may have changed since. Nothing is followed out of the directory (symbolic links,
// mounts). Needs CAP_SYS_ADMIN.
Result<unique_fd> find_subvolume(int directory_fd, const Uuid& uuid);

}  // namespace icbd::btrfs
