// Renaming and removing what may or may not be there.
#pragma once

#include <filesystem>

#include "icbd/base/error.h"

namespace icbd::repository {

// rename(2) that never replaces anything.
Status rename_new(const std::filesystem::path& from, const std::filesystem::path& to);
// Nothing there is success.
Status remove_file(const std::filesystem::path& file);
Status remove_subvolume(const std::filesystem::path& subvolume);

}  // namespace icbd::repository
