// The manifest: what a version *is*.
//
// Purpose: per entry its metadata and the digests of its chunks, as a tree of pages named by their
// SHA-256, below one root whose digest names the whole content:
//
//   root: entry count, bytes, [metadata page: digest, entries]…
//   metadata page: entries in path order, up to about limits::metadata_page_target bytes
//   entry: metadata, and the file's chunk digests: inline up to `inline_digests`, else the digests
//          of digest pages; and so on upwards: every level has a fanout of `page_digests`
//   digest page: up to page_digests digests of chunks (level 0) or of digest pages below
//
// A change touches the pages on the way from its chunk to the root, and nothing else: a cache
// fetches the pages that its parent version does not have. Page boundaries of metadata depend on
// the paths, so that an inserted file shifts one page only.
// Pure: bytes in, values out. Every decode checks bounds, order and names.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/base/limits.h"
#include "icbd/base/types.h"

namespace icbd::manifest {

inline constexpr std::size_t inline_digests = 16;  // 2 MiB of file
inline constexpr std::size_t page_digests = 64;    // 8 MiB of file per level-0 page

enum class EntryType : std::uint8_t {
  file = 1,
  directory = 2,
  symlink = 3,
  character_device = 4,
  block_device = 5,
  fifo = 6,
  socket = 7,
  // Another name of an earlier file, symlink, device, fifo or socket. Has a path and a target and
  // nothing else: the first name has the inode's metadata.
  hard_link = 8,
};

// Inode attributes that are part of the content; a subset of FS_*_FL.
enum Attribute : std::uint32_t {
  attribute_immutable = 1,
  attribute_append_only = 2,
  attribute_no_dump = 4
};

struct Xattr {
  std::string name;
  Bytes value;
  bool operator==(const Xattr&) const = default;
};

struct Entry {
  std::string path;  // relative, "" for the root directory; components are never "." or ".."
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;  // permission bits, 07777
  std::uint32_t uid = 0, gid = 0;
  Timestamp modified;
  std::uint32_t device_major = 0, device_minor = 0;
  std::uint32_t attributes = 0;  // of Attribute
  std::string target;            // symlink: its target; hard_link: the path of the first name
  std::vector<Xattr> xattrs;     // sorted by name
  std::uint64_t size = 0;        // files only
  // Bytes of chunks that are not all zero: what st_blocks is answered from while arriving.
  std::uint64_t data_bytes = 0;
  // Level 0 (the chunks themselves) if chunk_count <= inline_digests, else the top level's pages.
  std::vector<Digest> digests;

  std::uint32_t chunk_count() const {
    return static_cast<std::uint32_t>((size + limits::chunk_size - 1) / limits::chunk_size);
  }
  // The bytes that a chunk covers; the last one may be short.
  ByteRange chunk_range(ChunkIndex chunk) const;
  bool operator==(const Entry&) const = default;
};

struct Root {
  struct MetadataPage {
    Digest digest;
    std::uint32_t entries = 0;
    bool operator==(const MetadataPage&) const = default;
  };
  std::uint32_t entries = 0;     // the sum of the pages'
  std::uint64_t file_bytes = 0;  // sum of sizes of files
  std::uint64_t data_bytes = 0;  // sum of data_bytes of files
  std::vector<MetadataPage> pages;
  bool operator==(const Root&) const = default;
};

// Path order: component by component, so that a directory comes right before what is in it.
bool path_less(std::string_view a, std::string_view b);

Bytes encode_root(const Root& root);
Result<Root> decode_root(ByteView bytes);
// The entries must keep the rules that decoding checks (Builder sees to it).
Bytes encode_metadata_page(std::span<const Entry> entries);
// Checks order and bounds within the page; order across pages is the reader's.
Result<std::vector<Entry>> decode_metadata_page(ByteView bytes);
// 1 to page_digests of them.
Bytes encode_digest_page(std::span<const Digest> digests);
Result<std::vector<Digest>> decode_digest_page(ByteView bytes);

// Where pages are kept, by digest. Implementations: memory, one file per version.
class PageStore {
 public:
  virtual ~PageStore() = default;
  // The page's bytes, verified against the digest; not_found if it is not here.
  virtual Result<Bytes> find(const Digest& digest) const = 0;
  virtual bool contains(const Digest& digest) const = 0;
  // Adds a page (no-op if it is there) and returns its digest.
  virtual Result<Digest> add(ByteView page) = 0;
};

class TreeOrder;
class MetadataPageWriter;

// Builds a manifest bottom-up from entries that come in path order.
class Builder {
 public:
  explicit Builder(PageStore& pages);
  ~Builder();
  // `chunks`: the digest of every chunk of a file, in order; empty for all other types. Sets the
  // entry's digests itself, and its data_bytes if they were left 0. The root directory comes
  // first, and every directory before what is in it. invalid_argument if order, names or counts
  // are wrong; too_large if the entry does not fit one page (its extended attributes). After an
  // error the build is to be given up.
  Status add(Entry entry, std::span<const Digest> chunks);
  // Writes the last page and the root; returns the root's digest: the version's.
  Result<Digest> finish();

 private:
  Status append(const Entry& entry);
  Status flush();

  PageStore& pages_;
  Root root_;
  std::unique_ptr<TreeOrder> order_;
  std::unique_ptr<MetadataPageWriter> page_;
};

// Reads a manifest whose pages may be partly elsewhere. Thread-safe if the PageStore is.
class Reader {
 public:
  // not_found if the root is not in the store.
  static Result<Reader> open(const PageStore& pages, const Digest& root);

  const Root& root() const { return root_; }
  // Metadata pages that are not in the store.
  std::vector<Digest> missing_metadata() const;
  // All entries in order; not_found while metadata pages are missing. Checks that order holds
  // across pages, that every parent directory comes before what is in it, and that each hard link
  // names an earlier entry that can be linked.
  Result<std::vector<Entry>> entries() const;

  // The digest of one chunk. not_found if a page on the way is missing: then `missing` (if given)
  // is the page to fetch next.
  Result<Digest> chunk_digest(const Entry& file, ChunkIndex chunk, Digest* missing = nullptr) const;
  // Digests of a run of chunks; as chunk_digest.
  Result<std::vector<Digest>> chunk_digests(const Entry& file, ChunkIndex first,
                                            std::uint32_t count, Digest* missing = nullptr) const;
  // Digest pages of this file that are missing, of the highest incomplete level only: fetch
  // these, then ask again, until there are none.
  Result<std::vector<Digest>> missing_digest_pages(const Entry& file) const;

 private:
  Reader(const PageStore& pages, Root root) : pages_(&pages), root_(std::move(root)) {}
  const PageStore* pages_;
  Root root_;
};

}  // namespace icbd::manifest
