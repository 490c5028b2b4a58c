// The directories and names of a version, and what they were in its parent.
//
// Purpose: the half of TreeModel that knows about names. Objects (inodes) are numbered; a directory
// has one name, anything else may have several. Renaming a directory costs the same however much
// lies below it.
// Guarantees: a name leads to one object; the root is object 0 and is never removed; no directory
// lies below itself. After freeze() the listing at that moment stays readable by find_frozen(),
// whatever happens to the names later: a directory copies its listing before its first change.
// Errors are `corrupt` and name the path. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::sendstream {

using ObjectIndex = std::uint32_t;

class NameTree {
 public:
  NameTree();

  // The current listing is what find_frozen() sees from now on.
  void freeze();

  Result<ObjectIndex> find(std::string_view path) const;
  Result<ObjectIndex> find_frozen(std::string_view path) const;
  bool is_directory(ObjectIndex object) const { return objects_[object].directory != nullptr; }
  // How many names lead to it.
  std::uint32_t names(ObjectIndex object) const { return objects_[object].names; }
  std::size_t size() const { return objects_.size(); }

  // A new object, whose index is size() before the call.
  Result<ObjectIndex> create(std::string_view path, bool directory);
  Status link(std::string_view path, ObjectIndex object);
  // The object that lost this name. Not for directories.
  Result<ObjectIndex> unlink(std::string_view path);
  Status remove_directory(std::string_view path);
  // Nothing may be there yet.
  Status rename(std::string_view path, std::string_view to);

  // Every name, the root's "" included. Left out is what lies deeper than limits::path_length,
  // where no system call could name it: renaming directories into one another can build that.
  std::vector<std::string> paths() const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Names = std::unordered_map<std::string, ObjectIndex, Hash, std::equal_to<>>;
  struct Directory {
    ObjectIndex parent = 0;
    bool frozen = false;  // it was there at freeze()
    Names names;
    std::unique_ptr<Names> before;  // the names at freeze(), once they have changed
  };
  struct Object {
    std::uint32_t names = 0;
    std::unique_ptr<Directory> directory;
  };
  // The directory of a path and its last component.
  struct Place {
    ObjectIndex directory;
    std::string_view name;
  };

  Result<ObjectIndex> walk(std::string_view path, bool frozen) const;
  Result<Place> place(std::string_view path) const;
  // A place where nothing is yet.
  Result<Place> free_place(std::string_view path) const;
  // Where `path` is now; the root has no place.
  Result<Place> taken_place(std::string_view path) const;
  bool lies_below(ObjectIndex directory, ObjectIndex ancestor) const;
  Names& change(ObjectIndex index);

  std::vector<Object> objects_;
};

}  // namespace icbd::sendstream
