// The names in a directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace icbd::repository {

// Sorted; none if it is not there or cannot be read.
std::vector<std::string> names_in(const std::filesystem::path& directory);

}  // namespace icbd::repository
