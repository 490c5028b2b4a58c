// A TOML document and the settings over it, read into the targets of its keys.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "icbd/base/error.h"

#include "keys.h"

namespace icbd::config {

// Errors (invalid_argument) begin with "name:line: ", those of a setting with its name.
Status read_document(std::string_view text, const std::string& name, Settings settings,
                     std::span<const Key> keys);

}  // namespace icbd::config
