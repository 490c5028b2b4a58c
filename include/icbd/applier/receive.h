// Makes a read-only subvolume of a send stream: what `icbd receive` does.
//
// Purpose: a full stream becomes a new subvolume below a directory, an incremental one a snapshot
// of its parent, which is looked for below the same directory, as clone sources are: by received
// UUID, else by UUID.
// Lifecycle: open(), feed() the stream's bytes in pieces of any size, finish(). An error is final;
// then discard(), which the destructor does too, but cannot tell about. One Receiver per stream.
// Guarantees: while the stream arrives, the subvolume has the hidden name `.NAME.receiving`; NAME
// is there when, and only when, the stream was applied to its end and its bytes are on the disk.
// The order is safe against power cuts: all data written and committed, then the received UUID, the
// read-only flag and the name, then committed again. What a receiver that was killed has left is
// replaced by the next one for the same name; two at the same time do not meet.
// Nothing outside the new subvolume is changed (see Applier).
// Not thread-safe. Needs CAP_SYS_ADMIN.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "icbd/applier/applier.h"
#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/uuid.h"

namespace icbd::applier {

struct ReceiveOptions {
  Policy policy;
  bool write_encoded = true;  // as in Options
};

struct Received {
  std::filesystem::path path;
  Uuid uuid;  // the received UUID: the sender's
  std::optional<Uuid> parent_uuid;
};

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
  // There are no more bytes: the subvolume gets its name.
  Result<Received> finish();

  // Deletes what was made, if finish() has not succeeded. True if there was anything.
  Result<bool> discard();

  // What the stream calls the subvolume; "" until it has said so.
  const std::string& name() const;

 private:
  struct State;
  explicit Receiver(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::applier
