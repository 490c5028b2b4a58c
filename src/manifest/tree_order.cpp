#include "tree_order.h"

#include <algorithm>

#include "path.h"

namespace icbd::manifest {

std::string_view TreeOrder::accept(std::string_view path, EntryType type) {
  if (!begun_) {
    if (!path.empty() || type != EntryType::directory)
      return "the first entry must be the root directory";
    begun_ = true;
    directories_ = {0};
    return {};
  }
  if (path == last_) return "the path is there already";
  if (!path_less(last_, path)) return "not in path order";
  const std::string_view parent = parent_path(path);
  if (!last_.starts_with(parent) || !std::ranges::binary_search(directories_, parent.size()))
    return "its directory is not there";
  while (directories_.back() > parent.size()) directories_.pop_back();
  if (type == EntryType::directory) directories_.push_back(path.size());
  last_ = path;
  return {};
}

}  // namespace icbd::manifest
