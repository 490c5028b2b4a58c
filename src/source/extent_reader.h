// Reads extents of a version's files, in as few reads as their order allows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "icbd/source/source.h"

#include "open_files.h"

namespace icbd::source {

// What is needed of a manifest's entry.
struct ServedFile {
  std::string path;
  std::uint64_t size = 0;
  bool is_file = false;  // a regular file, by its first name
};

// invalid_argument unless the extent lies in one chunk of a regular file.
Status check_extent(std::span<const ServedFile> files, const Extent& extent);

// Calls `received` for each extent, in their order, on this thread. The extents were checked.
Status read_extents(std::span<const ServedFile> files, OpenFiles& open_files,
                    std::span<const Extent> extents,
                    const std::function<Status(const ExtentData&)>& received);

}  // namespace icbd::source
