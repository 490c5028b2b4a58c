// The rules that every entry of a manifest keeps, whoever made it.
#pragma once

#include <optional>
#include <string>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

// Why this entry may not stand in a manifest, in words that follow its path; none if it may. Looks
// at everything but the digests themselves.
std::optional<std::string> entry_fault(const Entry& entry);

}  // namespace icbd::manifest
