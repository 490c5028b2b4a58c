// Finding a repository's directory, and having it alone.
#pragma once

#include <filesystem>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

#include "layout.h"

namespace icbd::repository {

// The directory without symlinks; it has to be on BTRFS.
Result<std::filesystem::path> find_directory(const std::filesystem::path& directory);

// Takes the lock, which lasts as long as the descriptor. busy if a daemon or a check has it and
// keeps it for half a second; not_found if there is no lock file, unless `create`.
Result<unique_fd> take_lock(const Layout& layout, bool create);

}  // namespace icbd::repository
