// Reads compressed extents of a version's files as they lie on the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "icbd/source/source.h"

#include "extent_reader.h"
#include "open_files.h"
#include "stretch_buffers.h"

namespace icbd::source {

// Delivers the compressed extents that lie wholly in neighbours among `extents`, and returns what
// is left to be read plainly, in order. As `btrfs send` does, one that takes more room packed than
// what the file holds of it is left. The extents were checked.
Result<std::vector<Extent>> read_encoded(
    std::span<const ServedFile> files, OpenFiles& open_files, std::span<const Extent> extents,
    StretchBuffers& buffers, const std::function<Status(const EncodedExtent&)>& received);

// Where the compressed extent begins that `offset` lies in; `offset` if it lies in none.
Result<std::uint64_t> encoded_border(const ServedFile& file, OpenFiles& open_files, FileIndex index,
                                     std::uint64_t offset);

}  // namespace icbd::source
