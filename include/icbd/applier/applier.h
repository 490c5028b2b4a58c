// Applies the commands of a send stream to one subvolume.
//
// Purpose: turns a writable snapshot of the parent (or an empty subvolume) into the version that a
// stream describes. One applier serves shapes (no data) and full streams.
// Lifecycle: construct with the root directory of the subvolume; apply() every command in order;
// finish(). An error is final: the caller discards the subvolume. (Not with `pass_over_errors`.)
// That a new file cannot be made may be said with the command after, which names it.
// Guarantees: every path is resolved by openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV below `root_fd`, so that nothing outside the subvolume
// is read or changed; an empty name, "." and ".." are refused. Exactly one subvolume per stream,
// nothing after End. Sizes are held against limits::file_size before they reach the kernel; the
// numbers of commands and of new inodes, and the depth of directories, are bounded too. Clone
// sources come only from `CloneSources`. What a policy forbids, and what this kernel or filesystem
// cannot give a file (fs-verity), is refused as a whole, naming path and key; nothing is stripped
// silently. Left to the receiving filesystem is how a file is stored (its compression, checksums,
// copy-on-write), and to nobody when it was created, which no system call can set.
// What it cannot know: whether a command is missing. A version is compared with its manifest.
// Not thread-safe. Needs the privileges of the calls it makes (chown, mknod); CAP_SYS_ADMIN only to
// write compressed extents as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "icbd/base/error.h"
#include "icbd/base/limits.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"
#include "icbd/sendstream/command.h"

namespace icbd::applier {

// The versions that a Clone may read from, beside the subvolume that is being received.
class CloneSources {
 public:
  virtual ~CloneSources() = default;
  // The root directory of the version with this UUID; not_found refuses the stream. The
  // descriptor stays the owner's and open until the applier is done.
  virtual Result<int> root_of(const Uuid& uuid) = 0;
};

struct Policy {
  bool allow_device_nodes = true;
  bool allow_setuid = true;
  bool allow_security_xattrs = true;  // security.*: capabilities, labels
};

struct Options {
  Policy policy;
  // Hold back what a later write would remove or forbid (setuid and setgid bits of files,
  // security.capability, times of files and directories, immutable and append-only attributes):
  // the caller sets them when the file is whole. False for full streams.
  bool hold_back = true;
  // What a stream without data says of a range: false if nothing, as for the stock receiver; true
  // if a file reaches at least to its end.
  bool extents_have_length = true;
  // A command that cannot be applied leaves the next ones possible; apply() says the error all the
  // same. For people who take what they can get.
  bool pass_over_errors = false;
  // Hand compressed extents to the kernel as they are. If not, or where it refuses, they are
  // unpacked first.
  bool write_encoded = true;
  // What one stream may hold at most. The bounds of sizes, names and depth stand in limits.h.
  std::uint64_t commands_max = limits::commands_per_stream;
  std::uint64_t inodes_max = limits::entries_per_version;  // that the stream makes
};

class Session;

class Applier {
 public:
  // `root_fd` stays the caller's. `own_uuid`: what Clone calls the subvolume being received is
  // taken from the stream's Subvolume or Snapshot command.
  Applier(int root_fd, CloneSources& sources, Options options);
  ~Applier();
  Applier(Applier&&) noexcept;
  Applier& operator=(Applier&&) noexcept;

  Status apply(const sendstream::Command& command);
  // `corrupt` unless End was applied.
  Status finish() const;

  // What the stream said of itself; set by its first command.
  struct Identity {
    Uuid uuid;
    std::uint64_t transaction_id = 0;
    std::optional<Uuid> parent_uuid;
  };
  const std::optional<Identity>& identity() const { return identity_; }
  // The inodes whose flags the stream has set, for who thawed some of a parent's; none after an
  // error.
  std::unordered_set<std::uint64_t> inodes_with_set_flags() const;

 private:
  Status check_order(const sendstream::Command& command) const;
  Status give_up(Error error);

  std::unique_ptr<Session> session_;  // gone after an error
  std::optional<Identity> identity_;
  std::uint64_t commands_left_;
  bool pass_over_errors_;
  bool ended_ = false;
  std::optional<Error> failure_;
};

}  // namespace icbd::applier
