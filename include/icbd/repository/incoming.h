// Incoming: a snapshot that is received from where nobody has a manifest of it becomes a version.
//
// Purpose: what a machine sends that runs nothing but `btrfs send`. There is nothing to compare it
// with, so it is no version, and nobody sees it, before all of it is here: its manifest is computed
// from what has arrived, and vouches for it from then on.
// Lifecycle: begin(); somebody receives the snapshot into directory() under the name name(); then
// commit(), once. The destructor removes what was not committed; after a kill the next start of the
// repository does, by the hidden name.
// Order of commit(): manifest (hashing only what differs from the version before) -> sync -> facts
// -> catalog -> rename. The received UUID stays: it is the version's identity, by which a later
// snapshot finds its parent.
// One for each image at a time; not thread-safe. The repository must outlive it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "icbd/repository/publish.h"
#include "icbd/repository/repository.h"

namespace icbd::repository {

struct IncomingSnapshot {
  std::string image;    // made if it is new
  Uuid uuid;            // the identity that it will have
  std::string message;  // of a new version
  Timestamp published;  // likewise: when the snapshot was made
};

class Incoming {
 public:
  // It becomes the image's next version; one that the catalog calls remote becomes that again, with
  // the number and the facts that it had. already_exists if it is here, or another image's.
  static Result<Incoming> begin(Repository& repository, const IncomingSnapshot& snapshot);
  Incoming(Incoming&&) noexcept;
  Incoming& operator=(Incoming&&) noexcept;
  ~Incoming();

  VersionNumber number() const;
  std::filesystem::path directory() const;  // of the image
  std::string name() const;                 // hidden

  // corrupt if what was received is not a read-only subvolume with the identity, or, of a version
  // that was here before, has not the content that it had. Waits for a publication under way.
  Result<PublishReport> commit(PublishProgress& progress);

 private:
  struct State;
  explicit Incoming(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace icbd::repository
