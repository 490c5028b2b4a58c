// Where versions come from.
//
// Purpose: the one small interface between a cache and whatever has the versions: catalog, shape,
// manifest pages, extents, streams. Implementations: RepositorySource (a repository on this node:
// what a master serves), wire::RemoteSource (a master over the network), later others. One contract
// suite runs over all of them.
// Guarantees: thread-safe. Calls block until they are done or fail; `unavailable` means the peer
// cannot be reached now and that trying again may help. Nothing that is returned is trusted: pages
// and chunks are verified by whoever asked, against digests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/uuid.h"
#include "icbd/catalog/catalog.h"

namespace icbd::source {

// Up to where a source's catalog is known: handed back to hear only of changes.
struct KnownCatalog {
  Uuid session;
  std::uint64_t change_number = 0;
  bool operator==(const KnownCatalog&) const = default;
};
// All that a source has.
struct CatalogSnapshot {
  Uuid repository;  // the source's identity: another one is another source
  Uuid epoch;       // of its catalog: another one counts its changes anew
  // Made anew whenever the source starts: a catalog that was restored from an old backup meanwhile
  // may have come to the same change number with other content.
  Uuid session;
  std::uint64_t change_number = 0;
  std::vector<std::string> images;
  std::vector<catalog::VersionFacts> versions;  // complete ones only
  std::vector<catalog::Tag> tags = {};          // by image, then name

  KnownCatalog known() const { return {session, change_number}; }
};

struct ShapeRequest {
  Digest manifest;            // which version
  std::vector<Uuid> offered;  // complete versions that the asker holds, best first
};
struct ShapeBegin {
  std::optional<Uuid> parent;  // the offered one that the shape is against; none: full
};
// Called on the thread that asked, in order: begin once, then data.
struct ShapeSink {
  std::function<Status(const ShapeBegin&)> begin;
  std::function<Status(ByteView)> data;
};

// A version with its data, as the kernel sends it.
struct StreamRequest {
  Digest manifest;             // which version
  std::optional<Uuid> parent;  // a complete version that the asker holds; none: in full
};

// Bytes of one file of a version. At most one chunk long and within one chunk.
struct Extent {
  FileIndex file;
  ByteRange range;
  bool operator==(const Extent&) const = default;
};

// One extent's bytes, kept alive by `owner`; empty `data` with all_zero set stands for zeros.
struct ExtentData {
  Extent extent;
  std::shared_ptr<const void> owner;
  ByteView data;
  bool all_zero = false;
};

// A compressed extent of a file as it lies on the source's BTRFS: what BTRFS_IOC_ENCODED_READ gives
// and BTRFS_IOC_ENCODED_WRITE takes. What it unpacks to is not known to be right before somebody
// has unpacked it.
struct EncodedExtent {
  FileIndex file;
  ByteRange range;  // what the file holds of it: at most limits::extent_length, over any chunks
  std::uint32_t unencoded_offset = 0;  // of the range, in what it unpacks to
  std::uint32_t unencoded_length = 0;  // of all that it unpacks to
  std::uint32_t compression = 0;       // BTRFS_ENCODED_IO_COMPRESSION_*
  std::shared_ptr<const void> owner = nullptr;
  ByteView data = {};  // packed, in whole sectors
};
struct EncodedSink {
  std::function<Status(const ExtentData&)> plain;
  std::function<Status(const EncodedExtent&)> encoded;
};

enum class Priority : std::uint8_t {
  demand,  // somebody is blocked on it
  bulk,
  shared_bulk,  // bulk, while several nodes fetch; never asked for over the wire
};

class Source {
 public:
  virtual ~Source() = default;

  // Nothing if `known` is still all there is.
  virtual Result<std::optional<CatalogSnapshot>> catalog(
      const std::optional<KnownCatalog>& known) = 0;

  // The metadata-only send of a version against the cheapest of the offered parents.
  virtual Status shape(const ShapeRequest& request, const ShapeSink& sink) = 0;

  // Pages of a manifest by digest, in the order asked (the root has the manifest's own digest).
  virtual Result<std::vector<Bytes>> pages(const Digest& manifest,
                                           std::span<const Digest> digests) = 0;

  // Bytes of files. `received` is called once for each extent, in any order, on a thread of the
  // source's choosing and never concurrently for one call; an error from it ends the call.
  // Returns when all were delivered.
  virtual Status extents(const Digest& manifest, std::span<const Extent> extents, Priority priority,
                         const std::function<Status(const ExtentData&)>& received) = 0;

  // The send stream (version 2; extents may come compressed) of a version against one parent, piece
  // by piece, in order, on the thread that asked, as fast as `data` takes it; an error from it ends
  // the call. What nobody waits for: it is sent as bulk is. `not_found` if the source has not got
  // that parent of that version, `unsupported` if it sends no streams.
  virtual Status stream(const StreamRequest& request, const std::function<Status(ByteView)>& data);
  // The same in bulk, and where a compressed extent of the source's disk lies wholly in what is
  // asked for, it is delivered as it is. These reach over several of `extents`, and what is left of
  // those comes in parts: each byte that is asked for once, in any order. None may be named twice.
  virtual Status encoded_extents(const Digest& manifest, std::span<const Extent> extents,
                                 const EncodedSink& sink) {
    return this->extents(manifest, extents, Priority::bulk, sink.plain);
  }
  // Where to cut a file so that no compressed extent is cut: where the one begins that `offset`
  // lies in, or `offset`.
  virtual Result<std::uint64_t> extent_border(const Digest& manifest, FileIndex file,
                                              std::uint64_t offset) {
    static_cast<void>(manifest);
    static_cast<void>(file);
    return offset;
  }
};

inline Status Source::stream(const StreamRequest&, const std::function<Status(ByteView)>&) {
  return fail(ErrorCode::unsupported, "this source sends no streams");
}

}  // namespace icbd::source
