// What the view shows: the interface between the filesystem and whoever has the versions.
//
// Purpose: fs/ decodes kernel requests, computes node ids and replies; it knows nothing of
// networks, catalogs or BTRFS. A Library answers what exists; a Tree answers for one version's
// content. The cache implements both over its repository and replicator.
// Guarantees asked of implementations: thread-safe. Calls marked "at once" answer from memory or
// the local filesystem and never wait for a network: they run on the threads that read /dev/fuse.
// Everything else is asynchronous: a completion is called exactly once, on any thread, possibly
// before the call returns; if the implementation stops, with `cancelled`.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::fs {

// The root directory of every BTRFS subvolume has this inode number (BTRFS_FIRST_FREE_OBJECTID).
inline constexpr InodeNumber subvolume_root{256};

// What stat(2) shows. `st_ino` is the inode number within the version; st_dev is not used.
using Attributes = struct ::stat;

struct DirectoryEntry {
  std::string name;
  InodeNumber inode;
  std::uint32_t mode = 0;  // file type bits as in st_mode
};

// One open file of a version.
class OpenFile {
 public:
  virtual ~OpenFile() = default;
  // At once: a descriptor from which the whole file can be read, valid as long as this lives; -1
  // unless all of it is here and verified, which then stays so.
  virtual int descriptor_if_whole() const = 0;
  // At once: true if these bytes are here and verified, so that read_local() gives them. Once true
  // for a range, always true.
  virtual bool is_local(ByteRange range) const = 0;
  // At once: reads bytes that are here; short only at the end of the file.
  virtual Result<std::size_t> read_local(std::span<std::byte> buffer, std::uint64_t offset) = 0;
  // Reads bytes wherever they are; short only at the end of the file.
  using ReadDone = std::function<void(Result<Bytes>)>;
  virtual void read(ByteRange range, ReadDone done) = 0;
  // At once: lseek(2) with SEEK_DATA or SEEK_HOLE; bytes that are still to come count as data.
  virtual Result<std::uint64_t> seek(std::uint64_t offset, int whence) = 0;
};

// The content of one version whose shape is here. Everything is at once.
class Tree {
 public:
  virtual ~Tree() = default;
  // What the kernel hears of a complete version it may keep for long; some of an arriving one will
  // change.
  virtual bool complete() const = 0;
  // False for a regular file of which bytes are still to come.
  virtual bool whole(InodeNumber inode) = 0;
  // Grows whenever the version's inodes have become others under the same numbers.
  virtual std::uint64_t generation() const = 0;
  virtual Result<Attributes> attributes(InodeNumber inode) = 0;
  // `name` may be "..": the parent directory (of the subvolume's root: itself).
  virtual Result<Attributes> lookup(InodeNumber directory, const std::string& name) = 0;
  // Without "." and "..".
  virtual Result<std::vector<DirectoryEntry>> list(InodeNumber directory) = 0;
  virtual Result<std::string> read_link(InodeNumber inode) = 0;
  virtual Result<Bytes> xattr(InodeNumber inode, const std::string& name) = 0;
  virtual Result<std::vector<std::string>> xattr_names(InodeNumber inode) = 0;
  virtual Result<std::shared_ptr<OpenFile>> open(InodeNumber inode) = 0;
};

struct VersionEntry {
  VersionSerial serial;
  VersionNumber number;
  std::string state;  // "remote", "arriving" or "complete"
  std::string image;
  std::uint64_t generation = 0;  // as Tree::generation()
  Attributes root;               // of the version's root directory
};

// A symbolic link beside an image's versions: "latest", "current" or a tag.
struct LinkEntry {
  std::uint32_t id = 0;  // below 2^32, never reused for another name
  std::string name;
  VersionNumber target;
};

struct ImageEntry {
  std::uint32_t id = 0;  // below 2^32, never reused for another name
  std::string name;
  Timestamp modified;                  // when its newest version was published
  std::vector<VersionEntry> versions;  // by number
  std::vector<LinkEntry> links;
};

class Library {
 public:
  virtual ~Library() = default;
  // A consistent picture, by name; at once.
  using Images = std::vector<ImageEntry>;
  virtual std::shared_ptr<const Images> images() = 0;
  // At once: nothing if the version is unknown.
  virtual std::optional<VersionEntry> version(VersionSerial serial) = 0;
  // At once: the content if its shape is here, else null.
  virtual std::shared_ptr<Tree> tree(VersionSerial serial) = 0;
  // The content, after fetching its shape if need be.
  using TreeDone = std::function<void(Result<std::shared_ptr<Tree>>)>;
  virtual void prepare(VersionSerial serial, TreeDone done) = 0;
  virtual Result<struct statvfs> space() = 0;
};

}  // namespace icbd::fs
