// What a path in a manifest must look like.
#pragma once

#include <string_view>

namespace icbd::manifest {

// Why `path` (of anything but the root directory) may not stand in a manifest; empty if it may.
std::string_view path_fault(std::string_view path);

// The path of the directory that `path` lies in; "" is the root directory.
inline std::string_view parent_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

}  // namespace icbd::manifest
