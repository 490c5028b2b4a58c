// Where chunks with a given digest are on this node.
//
// Purpose: a chunk that some local version already has is shared (reflinked) instead of fetched.
// Equal is equal wherever it lies: at another place of the file, in another file, in another image.
// An index covers one complete version; it is built when a fill begins and dropped after it.
// Immutable after build(), so thread-safe. Memory: 16 bytes per chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "icbd/replicator/content.h"

namespace icbd::replicator {

struct ChunkPlace {
  FileIndex file;
  ChunkIndex chunk;
};

class DigestIndex {
 public:
  static Result<DigestIndex> build(std::shared_ptr<const LocalVersion> version);

  const LocalVersion& version() const { return *version_; }
  // A page of the manifest that cannot be read hides what it would have proven.
  std::optional<ChunkPlace> find(const Digest& digest) const;

 private:
  explicit DigestIndex(std::shared_ptr<const LocalVersion> version)
      : version_(std::move(version)) {}
  std::shared_ptr<const LocalVersion> version_;

  // Sorted by the digest's first bytes; that the rest is equal too is looked up in the manifest.
  struct Place {
    std::uint64_t head = 0;
    ChunkPlace chunk;
  };
  std::vector<Place> places_;
};

}  // namespace icbd::replicator
