// What a stream does to names and bytes, followed in memory.
//
// Purpose: after a shape (a stream without data) has been applied to a parent version, says for
// each file of the result which parent file's bytes it still holds and which ranges are no longer
// the parent's. Publishing uses it to hash only what changed; the planner of an arrival uses it to
// fetch only what changed; tests hold the applier against it.
// Lifecycle: construct with the parent's entries (none for a full stream), apply() every command,
// then lineage(). An error of apply() is final. Pure: no I/O. Not thread-safe. Memory: about 200
// bytes per entry.
// Guarantees: never wrong in the dangerous direction: a range that it does not list as updated or
// rewritten holds the parent's bytes at the same offset, provided that the stream was applied to
// that parent; in a file without a parent, what is not listed is zeros. The last change of a byte
// counts, so `updated` and `rewritten` do not overlap, and neither reaches beyond the end of the
// file. A command that does not fit the tree (unlink of a name that is not there) is an error
// (corrupt).
// What it cannot see: the kernel cuts the length of an UpdateExtent to 32 bits. Data extents are
// never that long, but a hole of 4 GiB and more is, where the sender has no Fallocate for it
// (streams of version 1; kernels without the commit "btrfs: send: use fallocate for hole punching
// with send stream v2"). Whoever must rely on a shape from such a sender compares holes as well.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/sendstream/command.h"

namespace icbd::sendstream {

// One name of the parent. Names with the same `file` are hard links of one another.
struct ParentName {
  std::string_view path;  // "" is the root directory
  FileIndex file;         // the parent's entry that holds the inode's data
  bool directory = false;
  std::uint64_t size = 0;
};

// How a file of the result came to be.
struct Lineage {
  // The parent's file whose inode this is; none if the stream created it.
  std::optional<FileIndex> parent;
  // Announced by UpdateExtent: the content is known to the sender only. Sorted, disjoint.
  std::vector<ByteRange> updated;
  // Changed by the stream itself (clone, truncate, punched hole): local bytes may be right
  // already, but must be checked. Sorted, disjoint.
  std::vector<ByteRange> rewritten;
};

class TreeModel {
 public:
  // For a stream against no parent.
  TreeModel();
  // Parents must come before their children; the root ("") first.
  static Result<TreeModel> from_parent(std::span<const ParentName> names);
  ~TreeModel();
  TreeModel(TreeModel&&) noexcept;
  TreeModel& operator=(TreeModel&&) noexcept;

  Status apply(const Command& command);

  // The lineage of a regular file of the result; nothing if there is no such file. (Of the parent's
  // entries it is not known which are fifos, devices and so on: those count as files, and no stream
  // changes their bytes.) A Clone from the parent's same file and offset counts as "keep what is
  // there". Valid until the next apply().
  const Lineage* lineage(std::string_view path) const;
  // All names of the result, root ("") included, in no particular order; without those that lie
  // deeper than limits::path_length.
  std::vector<std::string> paths() const;

 private:
  struct State;
  explicit TreeModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::sendstream
