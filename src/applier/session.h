// What the commands of one stream do to the subvolume.
//
// One operator() per command; they are spread over three files: session_names.cpp (what has which
// name), session_data.cpp (bytes) and session_attributes.cpp (mode, owner, times, xattrs, flags).
// The order of commands is the Applier's business. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/base/uuid.h"
#include "icbd/sendstream/command.h"

#include "confined_tree.h"

namespace icbd::applier {

// Of the last access and modification, as utimensat(2) has them.
using Times = std::array<timespec, 2>;

class Session {
 public:
  Session(int root_fd, CloneSources& sources, const Options& options)
      : tree_(root_fd), sources_(sources), options_(options) {}

  // Before each command: makes the file that is held back for its name, if this is not the rename
  // that gives it. See MakeFile.
  Status make_held_file(const sendstream::Command& next);

  Status operator()(const sendstream::Subvolume& command);
  Status operator()(const sendstream::Snapshot& command);
  Status operator()(const sendstream::End& command);

  Status operator()(const sendstream::MakeFile& command);
  Status operator()(const sendstream::MakeDirectory& command);
  Status operator()(const sendstream::MakeNode& command);
  Status operator()(const sendstream::MakeFifo& command);
  Status operator()(const sendstream::MakeSocket& command);
  Status operator()(const sendstream::MakeSymlink& command);
  Status operator()(const sendstream::Rename& command);
  Status operator()(const sendstream::Link& command);
  Status operator()(const sendstream::Unlink& command);
  Status operator()(const sendstream::RemoveDirectory& command);

  Status operator()(const sendstream::Write& command);
  Status operator()(const sendstream::EncodedWrite& command);
  Status operator()(const sendstream::Clone& command);
  Status operator()(const sendstream::Truncate& command);
  Status operator()(const sendstream::UpdateExtent& command);
  Status operator()(const sendstream::Fallocate& command);

  Status operator()(const sendstream::SetXattr& command);
  Status operator()(const sendstream::RemoveXattr& command);
  Status operator()(const sendstream::ChangeMode& command);
  Status operator()(const sendstream::ChangeOwner& command);
  Status operator()(const sendstream::SetTimes& command);
  Status operator()(const sendstream::FileAttributes& command);
  Status operator()(const sendstream::EnableVerity& command);

  const std::optional<Applier::Identity>& identity() const { return identity_; }
  // The inodes whose flags a FileAttributes set.
  const std::unordered_set<std::uint64_t>& decided_inodes() const { return decided_; }

 private:
  // Bytes of one file that were written in one go and not yet handed to the disk.
  struct Run {
    std::string path;
    ByteRange range;
  };
  // Flags that forbid what may still follow in the stream.
  struct LateFlags {
    unique_fd handle;
    int flags;
    std::string command;  // for the error message
  };
  struct ForeignSource {
    Uuid uuid;
    ConfinedTree tree;
  };

  // Before anything is made.
  Status count_inode();
  Status make_held_file();
  Status make_node(const std::string& path, mode_t type, std::uint64_t device);
  void start_writeback(const std::string& path, int fd, ByteRange written);
  Result<int> clone_source(const sendstream::Clone& command);
  Status check_xattr_name(const std::string& name) const;
  bool is_held_back(std::string_view xattr_name) const;
  Status set_late_flags();
  Status remember_decided(const Object& object);
  Status expect_verity(const Object& object);
  Status check_verity() const;
  Status remember_root_times();
  Status set_root_times();

  ConfinedTree tree_;
  CloneSources& sources_;
  Options options_;
  std::optional<Applier::Identity> identity_;
  std::optional<ForeignSource> foreign_;
  std::vector<LateFlags> late_flags_;
  std::unordered_set<std::uint64_t> decided_;
  std::unordered_set<ino_t> without_verity_;  // although the stream says that they have it
  std::uint64_t inodes_made_ = 0;
  std::string held_file_;  // its path; empty: none
  Times root_times_{};
  Run run_;
};

}  // namespace icbd::applier
