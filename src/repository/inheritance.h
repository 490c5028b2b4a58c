// What a new version has in common with the previous one, without reading its bytes.
//
// Purpose: the kernel's metadata-only send of the new version against the previous one says which
// ranges of which files have changed; every other chunk keeps the digest it had.
// Guarantees: a digest is taken over only if the shape excludes that the chunk has changed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/manifest/page_store.h"
#include "icbd/sendstream/tree_model.h"

#include "chunk_hasher.h"

namespace icbd::repository {

// A complete version of the same image: its root directory and its manifest.
struct PreviousVersion {
  int root_fd = -1;
  std::shared_ptr<const manifest::PageStore> pages;
  Digest manifest;
};

class Inheritance {
 public:
  // Both versions are read-only. Fails if the kernel cannot send, or says what does not fit.
  static Result<Inheritance> prepare(int root_fd, const PreviousVersion& previous);

  // Fills in the digests that the file keeps; returns their chunks' bytes.
  Result<std::uint64_t> take_over(FileChunks& file) const;

 private:
  Inheritance(PreviousVersion previous, manifest::Reader reader,
              std::vector<manifest::Entry> entries, sendstream::TreeModel model);

  PreviousVersion previous_;
  manifest::Reader reader_;
  std::vector<manifest::Entry> entries_;
  sendstream::TreeModel model_;
};

}  // namespace icbd::repository
