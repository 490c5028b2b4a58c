// The version that a word stands for: a number, "latest", "current" or a tag.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"

namespace icbd::catalog {

// `versions`: of the one image, by number. "latest" is the highest number; "current" the version
// with that tag, or the latest while none has it. not_found, naming what there is; invalid_argument
// for what can be neither. Pure.
Result<const Version*> find_version(std::span<const Version> versions, std::span<const Tag> tags,
                                    const std::string& image, std::string_view word);

}  // namespace icbd::catalog
