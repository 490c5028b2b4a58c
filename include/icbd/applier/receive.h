// Makes read-only subvolumes of send streams: what `icbd receive` does.
//
// Purpose: a full stream becomes a new subvolume below a directory, an incremental one a snapshot
// of its parent. Parent and clone sources are looked for by received UUID, else by UUID, below the
// directory and then, if it is given, below `search_root`.
// Lifecycle: open(), feed() the input's bytes in pieces of any size, finish(). The input is one
// stream or several, one after another; each may hold several subvolumes. An error is final; then
// discard(), which the destructor does too, but cannot tell about.
// Guarantees: while a subvolume arrives, it has the hidden name `.NAME.receiving` (`NAME.receiving`
// if NAME is hidden itself); NAME is there
// when, and only when, its commands were applied to their end and its bytes are on the disk.
// The order is safe against power cuts: all data written and committed, then the received UUID, the
// read-only flag and the name, then committed again. What a receiver that was killed has left is
// replaced by the next one for the same name; two at the same time do not meet.
// Nothing outside the new subvolumes is changed (see Applier).
// With `errors_max` other than 1 that is given up, as people ask for it who want what can be had: a
// stream whose errors were passed over up to its end leaves its subvolume writable, without an
// identity, and finish() says the last error; with `stop_at_end` it is sealed like a whole one.
// Both as the stock receiver does it.
// Not thread-safe. Needs CAP_SYS_ADMIN.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "icbd/applier/applier.h"
#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/uuid.h"

namespace icbd::applier {

// What the first command of a subvolume says of it.
struct Beginning {
  std::string name;
  Uuid uuid;
  std::uint64_t transaction_id = 0;
  std::optional<Uuid> parent_uuid;
};

struct Received {
  std::filesystem::path path;
  Uuid uuid;  // the received UUID: the sender's
  std::optional<Uuid> parent_uuid;
};

// Who wants to know what happens while it does. Called on the thread that feeds.
class ReceiveObserver {
 public:
  virtual ~ReceiveObserver() = default;
  virtual void begins(const Beginning& /*beginning*/) {}
  virtual void applies(const sendstream::Command& /*command*/) {}
  virtual void passes_over(const Error& /*error*/) {}
};

struct ReceiveOptions {
  Policy policy;
  bool write_encoded = true;  // as in Options
  // The end of the first stream is the end of the input, whatever follows.
  bool stop_at_end = false;
  // With how many errors a stream has failed; 0: however many, it is read to its end.
  std::uint64_t errors_max = 1;
  std::filesystem::path search_root = {};  // none if empty
  // Where parents and clone sources come from, instead of being looked for; outlives the receiver.
  CloneSources* versions = nullptr;
  // What the subvolume is called here; empty: what the stream calls it. With a name, the input may
  // hold one subvolume: of the second, it is taken.
  std::string name = {};
  ReceiveObserver* observer = nullptr;  // outlives the receiver
};

// The root of the mount that `path` lies in: where the stock receiver looks for parents.
Result<std::filesystem::path> mount_root_of(const std::filesystem::path& path);

class Receiver {
 public:
  // `directory` is an existing directory on BTRFS.
  static Result<Receiver> open(const std::filesystem::path& directory,
                               const ReceiveOptions& options = {});
  Receiver(Receiver&&) noexcept;
  Receiver& operator=(Receiver&&) noexcept;
  ~Receiver();

  // `already_exists` if there is something of that name, `not_found` without the parent or a clone
  // source, `busy` if another receiver is at work on the name.
  Status feed(ByteView piece);
  // How many bytes are needed at least to go on: who feeds no more at once has not taken anything
  // that stands behind the end. 0 when no more are needed, with `stop_at_end`.
  std::size_t missing() const;
  // There are no more bytes. Everything that was received; `corrupt` if there was no stream, or the
  // last one has stopped before its end.
  Result<std::vector<Received>> finish();

  // Deletes what was made of the subvolume that has no name yet. True if there was anything.
  Result<bool> discard();

  // Which one is arriving, or would; "" between two streams.
  const std::string& name() const;
  // What has its name already, also after an error.
  const std::vector<Received>& received() const;

 private:
  struct State;
  explicit Receiver(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::applier
