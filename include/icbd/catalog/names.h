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

// As an image's, but never all digits, which would be a version's number; "current" is allowed.
Status check_tag_name(std::string_view name);

// A path within a version: relative, of names that are neither empty nor "." nor "..", at most
// limits::path_length bytes; or empty.
Status check_marked_path(std::string_view path);

// The word for a version's place among its image's: the highest number there is, and the one that
// clients should boot (the tag of that name, else the latest).
inline constexpr std::string_view latest_word = "latest";
inline constexpr std::string_view current_word = "current";

// "win11@3"
struct VersionName {
  std::string image;
  VersionNumber number;
};
Result<VersionName> parse_version_name(std::string_view text);
// Decimal, 1 … 2^32-1, no leading zeros.
Result<VersionNumber> parse_version_number(std::string_view text);

}  // namespace icbd::catalog
