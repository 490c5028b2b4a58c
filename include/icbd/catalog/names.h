// Strict names: what an image may be called, and how a version is written.
//
// Names: [A-Za-z0-9._-], 1 to 100 characters, not beginning with "." or "-", and not "latest" or
// "current". Checked wherever a name comes in: command line, REST, wire, configuration.
#pragma once

#include <string>
#include <string_view>

#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::catalog {

Status check_image_name(std::string_view name);

// "win11@3"
struct VersionName {
  std::string image;
  VersionNumber number;
};
Result<VersionName> parse_version_name(std::string_view text);
// Decimal, 1 … 2^32-1, no leading zeros.
Result<VersionNumber> parse_version_number(std::string_view text);

}  // namespace icbd::catalog
