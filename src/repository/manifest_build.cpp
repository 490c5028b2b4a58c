#include "manifest_build.h"

#include <span>

#include "chunk_hasher.h"
#include "tree_walk.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;

std::vector<FileChunks> files_of(const std::vector<Entry>& entries) {
  std::vector<FileChunks> files;
  for (const Entry& entry : entries)
    if (entry.type == EntryType::file) files.emplace_back(entry);
  return files;
}

// Returns the bytes of the chunks that were taken over.
Result<std::uint64_t> inherit(int root_fd, const PreviousVersion& previous,
                              std::span<FileChunks> files) {
  ICBD_ASSIGN(const auto inheritance, Inheritance::prepare(root_fd, previous));
  std::uint64_t bytes = 0;
  for (FileChunks& file : files) {
    ICBD_ASSIGN(const std::uint64_t taken_over, inheritance.take_over(file));
    bytes += taken_over;
  }
  return bytes;
}

// `files` are those of `entries`, in the same order.
Result<Digest> write_manifest(std::vector<Entry> entries, std::span<const FileChunks> files,
                              manifest::PageStore& pages) {
  manifest::Builder builder(pages);
  for (Entry& entry : entries) {
    std::span<const Digest> digests;
    if (entry.type == EntryType::file) {
      digests = files.front().digests;
      files = files.subspan(1);
    }
    ICBD_TRY(builder.add(std::move(entry), digests));
  }
  return builder.finish();
}

}  // namespace

Result<BuiltManifest> build_manifest(int root_fd, const PreviousVersion* previous,
                                     manifest::PageStore& pages, PublishProgress& progress,
                                     const Logger& logger) {
  ICBD_ASSIGN(auto tree, walk_tree(root_fd));
  BuiltManifest built;
  const Entry& root = tree.entries.front();
  built.root = {.mode = root.mode, .uid = root.uid, .gid = root.gid, .modified = root.modified};
  built.warnings = std::move(tree.warnings);

  std::vector<FileChunks> files = files_of(tree.entries);
  if (previous) {
    if (const auto inherited = inherit(root_fd, *previous, files)) {
      built.bytes_inherited = *inherited;
    } else {
      logger->warn("cannot tell what changed since the previous version, so everything is read: {}",
                   inherited.error().message());
      files = files_of(tree.entries);
    }
  }
  ICBD_ASSIGN(built.bytes_hashed, hash_unknown_chunks(root_fd, files,
                                                      {.bytes_total = progress.bytes_total,
                                                       .bytes_done = progress.bytes_done,
                                                       .cancelled = &progress.cancelled}));
  ICBD_ASSIGN(built.digest, write_manifest(std::move(tree.entries), files, pages));
  ICBD_ASSIGN(const auto reader, manifest::Reader::open(pages, built.digest));
  built.entries = reader.root().entries;
  built.file_bytes = reader.root().file_bytes;
  built.data_bytes = reader.root().data_bytes;
  return built;
}

catalog::VersionFacts facts_from(const BuiltManifest& built, const btrfs::SubvolumeInfo& info) {
  catalog::VersionFacts facts;
  facts.uuid = info.identity();
  facts.manifest = built.digest;
  facts.root = built.root;
  facts.entries = built.entries;
  facts.file_bytes = built.file_bytes;
  facts.data_bytes = built.data_bytes;
  facts.send_transaction = info.generation;
  return facts;
}

PublishReport report_of(BuiltManifest built, catalog::Version version) {
  return {.version = std::move(version),
          .bytes_hashed = built.bytes_hashed,
          .bytes_inherited = built.bytes_inherited,
          .warnings = std::move(built.warnings)};
}

}  // namespace icbd::repository
