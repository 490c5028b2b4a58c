// Where chunks with a given digest are on this node.
//
// Purpose: a chunk that some local version already has is shared (reflinked) instead of fetched.
// An index covers one complete version; it is built when a fill begins and dropped after it.
// Immutable after build(), so thread-safe. Memory: about 60 bytes per chunk.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>

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
  std::optional<ChunkPlace> find(const Digest& digest) const;

 private:
  explicit DigestIndex(std::shared_ptr<const LocalVersion> version)
      : version_(std::move(version)) {}
  std::shared_ptr<const LocalVersion> version_;
  std::unordered_map<Digest, ChunkPlace> places_;
};

}  // namespace icbd::replicator
