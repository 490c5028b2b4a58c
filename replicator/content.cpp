#include "icbd/replicator/content.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/btrfs/subvolume.h"

#include "take_pages.h"

namespace icbd::replicator {
namespace {

using manifest::Entry;

// Ranges are sorted and disjoint.
std::span<const ByteRange> from(std::span<const ByteRange> ranges, std::uint64_t offset) {
  const auto first = std::ranges::partition_point(
      ranges, [&](ByteRange candidate) { return candidate.end() <= offset; });
  return {first, ranges.end()};
}

bool touches(std::span<const ByteRange> ranges, ByteRange range) {
  const auto rest = from(ranges, range.offset);
  return !rest.empty() && rest.front().offset < range.end();
}

}  // namespace

Content::Content(ContentParts parts, source::Source& source, manifest::Reader reader)
    : parts_(std::move(parts)),
      source_(source),
      reader_(std::move(reader)),
      chunks_(parts_.entries) {
  by_inode_.reserve(parts_.entries.size());
  for (std::uint32_t i = 0; i < parts_.entries.size(); ++i)
    by_inode_.try_emplace(parts_.inodes[i], FileIndex(i));  // keeps the first of hard links
}

Result<std::shared_ptr<Content>> Content::make(ContentParts parts, source::Source& source) {
  ICBD_ASSIGN(manifest::Reader reader,
              manifest::Reader::open(*parts.pages, parts.version.facts.manifest));
  return std::shared_ptr<Content>(new Content(std::move(parts), source, std::move(reader)));
}

std::optional<FileIndex> Content::find(InodeNumber inode) const {
  const auto found = by_inode_.find(inode);
  if (found == by_inode_.end()) return std::nullopt;
  return found->second;
}

Status Content::add_pages(std::span<const Digest> wanted) {
  return take_pages(*parts_.pages, parts_.version.facts.manifest, wanted,
                    parts_.parent ? parts_.parent->pages.get() : nullptr, source_);
}

Result<std::vector<Digest>> Content::digests(FileIndex file, ChunkIndex first,
                                             std::uint32_t count) {
  while (true) {
    Digest missing;
    auto found = reader_.chunk_digests(entry(file), first, count, &missing);
    if (found || found.error().code() != ErrorCode::not_found) return found;
    ICBD_TRY(add_pages(std::span(&missing, 1)));
  }
}

Status Content::fetch_digest_pages(FileIndex file) {
  while (true) {
    ICBD_ASSIGN(const std::vector<Digest> missing, reader_.missing_digest_pages(entry(file)));
    if (missing.empty()) return {};
    ICBD_TRY(add_pages(missing));
  }
}

Status Content::resolve(FileIndex file, ChunkIndex first, std::uint32_t count) {
  bool unresolved = false;
  for (std::uint32_t i = 0; i < count && !unresolved; ++i)
    unresolved = chunks_.state(chunks_.number(file, ChunkIndex(first.value() + i))) ==
                 ChunkState::unresolved;
  if (!unresolved) return {};

  ICBD_ASSIGN(const std::vector<Digest> wanted, digests(file, first, count));
  std::vector<Digest> inherited;
  const auto& lineage = parts_.lineages[file.value()];
  if (lineage.parent && parts_.parent) {
    const Entry& parent = parts_.parent->entries[lineage.parent->value()];
    const std::uint32_t available =
        parent.chunk_count() > first.value() ? parent.chunk_count() - first.value() : 0;
    // A file that has grown has chunks that the parent has not.
    if (available > 0) {
      ICBD_ASSIGN(inherited,
                  parts_.parent->reader.chunk_digests(parent, first, std::min(count, available)));
    }
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const ChunkIndex chunk(first.value() + i);
    const ChunkNumber number = chunks_.number(file, chunk);
    if (chunks_.state(number) != ChunkState::unresolved) continue;
    const bool same =
        i < inherited.size() && inherited[i] == wanted[i] && is_inherited(file, chunk);
    const bool hole =
        is_hole(file, chunk) && wanted[i] == sha256_of_zeros(entry(file).chunk_range(chunk).length);
    chunks_.advance(number, same || hole ? ChunkState::done : ChunkState::pending);
  }
  return {};
}

bool Content::is_inherited(FileIndex file, ChunkIndex chunk) const {
  const auto& lineage = parts_.lineages[file.value()];
  if (!lineage.parent || !parts_.parent) return false;
  const ByteRange range = entry(file).chunk_range(chunk);
  // Bytes that the sender announced are still the parent's here, until they are fetched: where the
  // manifest gives the parent's digest (rewritten alike, or defragmented) they are right.
  return range == parts_.parent->entries[lineage.parent->value()].chunk_range(chunk) &&
         !touches(lineage.rewritten, range);
}

bool Content::is_hole(FileIndex file, ChunkIndex chunk) const {
  const auto& lineage = parts_.lineages[file.value()];
  return !lineage.parent && !touches(lineage.rewritten, entry(file).chunk_range(chunk));
}

bool Content::is_rewritten(FileIndex file, ChunkIndex chunk) const {
  return touches(parts_.lineages[file.value()].rewritten, entry(file).chunk_range(chunk));
}

std::vector<ByteRange> Content::missing_ranges(FileIndex file, ChunkIndex chunk) const {
  // More pieces than this cost more in headers and lookups than they save.
  constexpr std::size_t most_pieces = 16;
  const ByteRange whole = entry(file).chunk_range(chunk);
  const auto& lineage = parts_.lineages[file.value()];
  if (!is_inherited(file, chunk)) return {whole};
  std::vector<ByteRange> missing;
  for (const ByteRange updated : from(lineage.updated, whole.offset)) {
    if (updated.offset >= whole.end()) break;
    missing.push_back(intersect(updated, whole));
  }
  if (missing.empty() || missing.size() > most_pieces) return {whole};
  return missing;
}

Status Content::unseal() const {
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(parts_.staging.root_fd()));
  if (info.read_only) ICBD_TRY(btrfs::set_read_only(parts_.staging.root_fd(), false));
  for (std::size_t i = 0; i < parts_.entries.size(); ++i)
    if ((parts_.entries[i].type == manifest::EntryType::file ||
         parts_.entries[i].type == manifest::EntryType::directory) &&
        parts_.entries[i].attributes != 0)
      ICBD_TRY(thaw_inode(parts_.staging, parts_.inodes[i]));
  return {};
}

}  // namespace icbd::replicator
