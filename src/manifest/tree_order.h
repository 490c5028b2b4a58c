// Checks that paths come in the order of a manifest.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

// Path order is depth first: the directories that the next path can lie in are the last path and
// what is above it. So one path and the lengths of its directories are all that must be kept.
class TreeOrder {
 public:
  // Why an entry with this path may not follow those accepted before; empty if it may, and then it
  // is accepted.
  std::string_view accept(std::string_view path, EntryType type);

 private:
  bool begun_ = false;
  std::string last_;
  std::vector<std::size_t> directories_;  // lengths of the prefixes of last_ that are directories
};

}  // namespace icbd::manifest
