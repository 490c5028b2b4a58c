// Finds what lies below one directory, and nothing else.
//
// Purpose: turns a path from a stream into descriptors, so that no system call of the applier ever
// gets a stream's path. Every path is resolved by openat2(2) with RESOLVE_BENEATH |
// RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV; components that are empty, "." or
// ".." are refused before that.
// Opening: an object is first opened with O_PATH, which neither follows a symlink nor wakes a
// device or a fifo; only when it is known to be a regular file it is opened for data, through its
// own descriptor in /proc/self/fd.
// Caching: the last directory and the last two objects, because a stream works on one file at a
// time (and on two when it clones). A file that was made here keeps the descriptor that it was made
// with. Whoever removes a name must forget() it first; whoever has renamed one says so.
// Not thread-safe.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::applier {

// A name for system calls that take no descriptor opened with O_PATH (chmod, setxattr, open).
std::string descriptor_path(int fd);

// Anything that has a path: a file, a directory, a symlink (never followed), …
struct Object {
  std::string path;
  unique_fd handle;              // O_PATH; none of a file that was made here
  mode_t type = 0;               // the S_IFMT bits
  unique_fd readable, writable;  // regular files, once they were asked for
  // A file that was made here and has no room beyond its end: a truncate to the size that it has
  // changes nothing.
  bool ends_with_its_size = false;

  // For system calls that take any descriptor, whatever it was opened for.
  int fd() const { return handle ? handle.get() : writable.get(); }
  bool is_file() const { return S_ISREG(type); }
  bool is_directory() const { return S_ISDIR(type); }
};

struct Directory {
  std::string path;
  unique_fd handle;  // O_PATH
  // New files in it get attributes that the stream does not know of: see drop_inherited().
  bool bequeaths = false;
  // And these of FS_IOC_GETFLAGS, which cannot be taken off again.
  int bequeathed_flags = 0;
};

// A name in a directory, whether something is there or not.
struct Place {
  std::shared_ptr<const Directory> directory;
  std::string name;

  int fd() const { return directory->handle.get(); }
};

class ConfinedTree {
 public:
  // `root_fd` stays the caller's.
  explicit ConfinedTree(int root_fd) : root_fd_(root_fd) {}

  // Whether it could be a path in here, by its text alone. "" is the root.
  static Status check_path(std::string_view path);
  // Not for the root, which has no name.
  Result<Place> place(std::string_view path);
  // Valid until two other objects were asked for or the path is forgotten.
  Result<Object*> object(std::string_view path);
  // Descriptors of a regular file, with the lifetime of its object. The writable one can read too.
  Result<int> readable(std::string_view path);
  Result<int> writable(std::string_view path);

  // Makes an empty regular file where nothing is, and opens it.
  Status make_file(std::string_view path, mode_t mode);

  // `path` and all below it have got other names: what is open of a file stays open.
  void renamed(std::string_view path, std::string_view to);
  // `path` and all below it are about to go, or are not what they were.
  void forget(std::string_view path);
  // Closes everything.
  void forget_all();

 private:
  Result<unique_fd> resolve(int directory_fd, std::string_view path, std::uint64_t flags) const;
  Result<std::shared_ptr<const Directory>> directory(std::string_view path);
  Object* keep(std::unique_ptr<Object> object);
  Result<std::unique_ptr<Object>> open_object(std::string_view path);
  Result<Object*> file(std::string_view path);

  int root_fd_;
  std::shared_ptr<const Directory> root_, last_directory_;
  std::array<std::unique_ptr<Object>, 2> objects_;  // the last one first
};

// Removes what a new object took over from its directory without the stream's doing: default ACLs
// and BTRFS properties. The stream sets what the version really has.
Status drop_inherited(ConfinedTree& tree, const Place& place, std::string_view path);

}  // namespace icbd::applier
