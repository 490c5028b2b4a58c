#include "icbd/repository/parent_names.h"

#include <string_view>
#include <unordered_map>

namespace icbd::repository {

std::vector<sendstream::ParentName> parent_names(std::span<const manifest::Entry> entries) {
  std::unordered_map<std::string_view, FileIndex> indexes;
  std::vector<sendstream::ParentName> names;
  names.reserve(entries.size());
  for (std::uint32_t index = 0; index < entries.size(); ++index) {
    const manifest::Entry& entry = entries[index];
    sendstream::ParentName name{.path = entry.path, .file = FileIndex(index)};
    name.directory = entry.type == manifest::EntryType::directory;
    if (entry.type == manifest::EntryType::hard_link) name.file = indexes.at(entry.target);
    name.size = entries[name.file.value()].size;
    indexes.emplace(entry.path, name.file);
    names.push_back(name);
  }
  return names;
}

}  // namespace icbd::repository
