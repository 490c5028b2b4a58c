// The content of an arriving version: manifest, staging and plan together.
//
// Purpose: everything that is fixed once the shape is here: entries, the inode of each, how each
// file came to be; and the digests of its chunks, fetched page by page when they are needed. It
// answers the one question that filling asks: what must be done to this chunk?
// Lifecycle: made by fetch_shape() or resume_content(); shared by readers and fillers.
// Thread-safe. Calls that may ask the source say so.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "icbd/catalog/catalog.h"
#include "icbd/manifest/page_store.h"
#include "icbd/replicator/chunk_map.h"
#include "icbd/replicator/local_versions.h"
#include "icbd/replicator/staging.h"
#include "icbd/sendstream/tree_model.h"
#include "icbd/source/source.h"

namespace icbd::replicator {

struct ContentParts {
  catalog::Version version;
  Staging staging;
  std::shared_ptr<manifest::FilePageStore> pages;
  std::vector<manifest::Entry> entries;
  std::vector<InodeNumber> inodes;             // of each entry
  std::vector<sendstream::Lineage> lineages;   // of each entry; meant for files
  std::shared_ptr<const LocalVersion> parent;  // null: shaped against nothing
  bool is_synced = false;                      // staging is durable as it is
};

class Content {
 public:
  static Result<std::shared_ptr<Content>> make(ContentParts parts, source::Source& source);

  const catalog::Version& version() const { return parts_.version; }
  const Staging& staging() const { return parts_.staging; }
  const std::vector<manifest::Entry>& entries() const { return parts_.entries; }
  const manifest::Entry& entry(FileIndex file) const { return parts_.entries[file.value()]; }
  InodeNumber inode(FileIndex file) const { return parts_.inodes[file.value()]; }
  const std::vector<InodeNumber>& inodes() const { return parts_.inodes; }
  // The entry that describes an inode; of hard links, the first.
  std::optional<FileIndex> find(InodeNumber inode) const;
  const std::vector<sendstream::Lineage>& lineages() const { return parts_.lineages; }
  const std::shared_ptr<const LocalVersion>& parent() const { return parts_.parent; }
  manifest::FilePageStore& pages() const { return *parts_.pages; }
  bool is_synced() const { return parts_.is_synced; }
  ChunkMap& chunks() { return chunks_; }
  const ChunkMap& chunks() const { return chunks_; }

  // Digests of a run of chunks. Takes pages that are missing from the parent, then from the source.
  Result<std::vector<Digest>> digests(FileIndex file, ChunkIndex first, std::uint32_t count);
  // All digest pages of a file, in as few requests as levels.
  Status fetch_digest_pages(FileIndex file);

  // Compares unresolved chunks of a run with the manifest: what is inherited unchanged or a hole
  // becomes done, the rest pending. May ask the source for pages.
  Status resolve(FileIndex file, ChunkIndex first, std::uint32_t count);

  // Whether the stream itself changed a chunk (clone, truncate, punch), so that its local bytes may
  // be right already.
  bool is_rewritten(FileIndex file, ChunkIndex chunk) const;
  // Which bytes of a pending chunk must come from elsewhere: the changed ranges if the rest of it
  // is the parent's, else all of it.
  std::vector<ByteRange> missing_ranges(FileIndex file, ChunkIndex chunk) const;

  // Takes back what a landing that did not end has set last, the immutable attributes and the
  // read-only flag, so that bytes and metadata can be written again.
  Status unseal() const;

 private:
  Content(ContentParts parts, source::Source& source, manifest::Reader reader);
  Status add_pages(std::span<const Digest> wanted);
  bool is_inherited(FileIndex file, ChunkIndex chunk) const;
  bool is_hole(FileIndex file, ChunkIndex chunk) const;

  ContentParts parts_;
  source::Source& source_;
  manifest::Reader reader_;
  ChunkMap chunks_;
  std::unordered_map<InodeNumber, FileIndex> by_inode_;
};

}  // namespace icbd::replicator
