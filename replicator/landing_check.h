// Every chunk of an arriving version against the manifest, before it may be called complete.
//
// Purpose: what filling believes to have done is looked at once more, on the filesystem itself:
//   - a file whose inode is the parent's own, where both manifests have the same content, is what
//     it was: nothing is looked at;
//   - a chunk whose range lies on the same extents as the parent's, where the parent's manifest has
//     the same digest, is the parent's verified chunk: nothing is read;
//   - a range without written extents is zeros;
//   - everything else is read back and compared: with the fingerprint of what this process verified
//     by its digest and wrote, else with the digest.
// So the cost follows what this arrival wrote, and a mistake of the shape, of its application or of
// filling is found whatever its cause.
// Lifecycle: construct, run() once, with no writer left and everything synced; `shared` was looked
// at after that.
#pragma once

#include <atomic>
#include <stop_token>
#include <vector>

#include "icbd/replicator/content.h"

#include "shared_inodes.h"

namespace icbd::replicator {

struct CheckedChunk {
  FileIndex file;
  ChunkIndex chunk;
};

struct LandingCheckReport {
  std::vector<CheckedChunk> damaged;  // not what the manifest says
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_shared = 0;  // proven by their extents
};

class LandingCheck {
 public:
  LandingCheck(Content& content, const SharedInodes& shared) : content_(content), shared_(shared) {}

  // An error only if something could not be looked at; `cancelled` if stopped.
  Result<LandingCheckReport> run(std::stop_token stop);

 private:
  struct Window {
    FileIndex file;
    ChunkIndex first;
    std::uint32_t count = 0;
  };
  // Of the files that have to be looked at; counts the others.
  std::vector<Window> windows(LandingCheckReport& report) const;
  Status check_window(const Window& window, LandingCheckReport& report);
  bool is_right(ByteView bytes, ChunkNumber number, const Digest& digest) const;
  Status read_back(const Window& window, std::span<const Digest> digests,
                   std::span<const bool> proven, LandingCheckReport& report);

  Content& content_;
  const SharedInodes& shared_;
};

}  // namespace icbd::replicator
