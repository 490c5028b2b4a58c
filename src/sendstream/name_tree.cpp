#include "name_tree.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "icbd/base/limits.h"

#include "quote.h"

namespace icbd::sendstream {
namespace {

constexpr ObjectIndex root = 0;

std::unexpected<Error> misfit(std::string_view path, std::string_view problem) {
  return fail(ErrorCode::corrupt, fmt::format("{}: {}", quote_path(path), problem));
}

// The part of `rest` before the first slash, taken off it; nothing if it is no proper name.
std::optional<std::string_view> take_component(std::string_view& rest) {
  const std::size_t slash = rest.find('/');
  const std::string_view component = rest.substr(0, slash);
  const bool last = slash == std::string_view::npos;
  rest.remove_prefix(last ? rest.size() : slash + 1);
  const bool ends_in_slash = !last && rest.empty();
  if (component.empty() || component == "." || component == ".." || ends_in_slash ||
      component.size() > limits::name_length)
    return std::nullopt;
  return component;
}

}  // namespace

NameTree::NameTree() {
  objects_.push_back({.names = 1, .directory = std::make_unique<Directory>()});
}

void NameTree::freeze() {
  for (Object& object : objects_)
    if (object.directory) object.directory->frozen = true;
}

Result<ObjectIndex> NameTree::find(std::string_view path) const {
  return walk(path, false);
}

Result<ObjectIndex> NameTree::find_frozen(std::string_view path) const {
  return walk(path, true);
}

Result<ObjectIndex> NameTree::create(std::string_view path, bool directory) {
  ICBD_ASSIGN(const Place place, free_place(path));
  if (objects_.size() >= limits::entries_per_version)
    return fail(ErrorCode::too_large, fmt::format("{}: more than {} files and directories",
                                                  quote_path(path), limits::entries_per_version));
  const auto created = static_cast<ObjectIndex>(objects_.size());
  objects_.push_back({.names = 1, .directory = nullptr});
  if (directory) {
    objects_.back().directory = std::make_unique<Directory>();
    objects_.back().directory->parent = place.directory;
  }
  change(place.directory).emplace(place.name, created);
  return created;
}

Status NameTree::link(std::string_view path, ObjectIndex object) {
  if (is_directory(object)) return misfit(path, "a directory cannot have a second name");
  ICBD_ASSIGN(const Place place, free_place(path));
  change(place.directory).emplace(place.name, object);
  ++objects_[object].names;
  return {};
}

Result<ObjectIndex> NameTree::unlink(std::string_view path) {
  ICBD_ASSIGN(const Place place, taken_place(path));
  Names& names = change(place.directory);
  const auto name = names.find(place.name);
  const ObjectIndex object = name->second;
  if (is_directory(object)) return misfit(path, "it is a directory");
  names.erase(name);
  --objects_[object].names;
  return object;
}

Status NameTree::remove_directory(std::string_view path) {
  ICBD_ASSIGN(const Place place, taken_place(path));
  Names& names = change(place.directory);
  const auto name = names.find(place.name);
  Object& object = objects_[name->second];
  if (!object.directory) return misfit(path, "it is not a directory");
  if (!object.directory->names.empty()) return misfit(path, "the directory is not empty");
  names.erase(name);
  --object.names;
  return {};
}

Status NameTree::rename(std::string_view path, std::string_view to) {
  ICBD_ASSIGN(const Place from, taken_place(path));
  ICBD_ASSIGN(const Place target, free_place(to));
  Names& names = change(from.directory);
  const auto name = names.find(from.name);
  const ObjectIndex object = name->second;
  if (Directory* directory = objects_[object].directory.get()) {
    if (lies_below(target.directory, object)) return misfit(to, "a directory cannot lie in itself");
    directory->parent = target.directory;
  }
  names.erase(name);
  change(target.directory).emplace(target.name, object);
  return {};
}

std::vector<std::string> NameTree::paths() const {
  std::vector<std::string> found = {""};
  // Directories whose names are still to be listed, with their paths.
  std::vector<std::pair<ObjectIndex, std::string>> open = {{root, ""}};
  while (!open.empty()) {
    const auto [directory, path] = std::move(open.back());
    open.pop_back();
    for (const auto& [name, object] : objects_[directory].directory->names) {
      if (path.size() + 1 + name.size() > limits::path_length) continue;
      found.push_back(path.empty() ? name : fmt::format("{}/{}", path, name));
      if (is_directory(object)) open.emplace_back(object, found.back());
    }
  }
  return found;
}

Result<ObjectIndex> NameTree::walk(std::string_view path, bool frozen) const {
  ObjectIndex object = root;
  for (std::string_view rest = path; !rest.empty();) {
    const auto component = take_component(rest);
    if (!component) return misfit(path, "not a path inside the subvolume");
    const Directory* directory = objects_[object].directory.get();
    if (!directory || (frozen && !directory->frozen)) return misfit(path, "there is no such path");
    const Names& names = frozen && directory->before ? *directory->before : directory->names;
    const auto name = names.find(*component);
    if (name == names.end()) return misfit(path, "there is no such path");
    object = name->second;
  }
  return object;
}

Result<NameTree::Place> NameTree::place(std::string_view path) const {
  const std::size_t slash = path.rfind('/');
  const bool in_root = slash == std::string_view::npos;
  std::string_view rest = in_root ? path : path.substr(slash + 1);
  const auto name = take_component(rest);
  if (!name || slash == 0) return misfit(path, "not a path inside the subvolume");
  ICBD_ASSIGN(const ObjectIndex directory, find(in_root ? "" : path.substr(0, slash)));
  if (!is_directory(directory)) return misfit(path, "it does not lie in a directory");
  return Place{directory, *name};
}

Result<NameTree::Place> NameTree::free_place(std::string_view path) const {
  ICBD_ASSIGN(const Place where, place(path));
  if (objects_[where.directory].directory->names.contains(where.name))
    return misfit(path, "the name is taken");
  return where;
}

Result<NameTree::Place> NameTree::taken_place(std::string_view path) const {
  ICBD_ASSIGN(const Place where, place(path));
  if (!objects_[where.directory].directory->names.contains(where.name))
    return misfit(path, "there is no such path");
  return where;
}

bool NameTree::lies_below(ObjectIndex directory, ObjectIndex ancestor) const {
  while (directory != ancestor && directory != root)
    directory = objects_[directory].directory->parent;
  return directory == ancestor;
}

NameTree::Names& NameTree::change(ObjectIndex index) {
  Directory& directory = *objects_[index].directory;
  if (directory.frozen && !directory.before)
    directory.before = std::make_unique<Names>(directory.names);
  return directory.names;
}

}  // namespace icbd::sendstream
