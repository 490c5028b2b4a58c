// How a version is named on the command line: IMAGE@V, where V is a number, a tag, latest or
// current. Pure.
#pragma once

#include <string>
#include <string_view>

#include "icbd/base/error.h"

namespace icbd::cli {

struct VersionWords {
  std::string image;
  std::string version;

  std::string name() const { return image + "@" + version; }
  // Of the version, or of something that belongs to it: path("/pin").
  std::string path(std::string_view below = {}) const;
  // Only a number names the same version tomorrow.
  bool is_number() const;
};

// IMAGE alone is IMAGE@latest, where that is allowed.
enum class Bare { refused, latest };
Result<VersionWords> parse_version_words(std::string_view text, Bare bare = Bare::refused);

}  // namespace icbd::cli
