// The name of a filesystem's type, for error messages.
#pragma once

#include <filesystem>
#include <string>

namespace icbd::repository {

// "ext4", or "another filesystem" if it cannot be found out.
std::string filesystem_type(const std::filesystem::path& path);

}  // namespace icbd::repository
