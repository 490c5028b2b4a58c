// Which parent makes the smallest shape.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "icbd/base/uuid.h"
#include "icbd/catalog/catalog.h"

namespace icbd::source {

// Of the offered versions that are complete here, the one to send `version` against: the version
// that it was published after, else the nearest lower number of the same image, else the nearest.
// None of another image: nothing says that they have anything in common, and a shape that first
// removes a whole tree is worse than a full one. Nothing: send a full shape.
std::optional<catalog::Version> choose_parent(const catalog::Version& version,
                                              std::span<const catalog::Version> versions,
                                              std::span<const Uuid> offered);

}  // namespace icbd::source
