#include "icbd/replicator/digest_index.h"

#include <algorithm>
#include <cstring>

namespace icbd::replicator {
namespace {

std::uint64_t head_of(const Digest& digest) {
  std::uint64_t head = 0;
  std::memcpy(&head, digest.bytes.data(), sizeof head);
  return head;
}

}  // namespace

Result<DigestIndex> DigestIndex::build(std::shared_ptr<const LocalVersion> version) {
  DigestIndex index(std::move(version));
  const LocalVersion& local = index.version();
  const Digest zeros = sha256_of_zeros(limits::chunk_size);
  for (std::uint32_t file = 0; file < local.entries.size(); ++file) {
    const manifest::Entry& entry = local.entries[file];
    if (entry.type != manifest::EntryType::file) continue;
    ICBD_ASSIGN(const std::vector<Digest> digests,
                local.reader.chunk_digests(entry, ChunkIndex(0), entry.chunk_count()));
    for (std::uint32_t chunk = 0; chunk < digests.size(); ++chunk)
      if (digests[chunk] != zeros)  // zeros are punched, not shared
        index.places_.push_back(
            {.head = head_of(digests[chunk]), .chunk = {FileIndex(file), ChunkIndex(chunk)}});
  }
  std::ranges::stable_sort(index.places_, {}, &Place::head);
  const auto repeated = std::ranges::unique(index.places_, {}, &Place::head);
  index.places_.erase(repeated.begin(), repeated.end());
  index.places_.shrink_to_fit();
  return index;
}

std::optional<ChunkPlace> DigestIndex::find(const Digest& digest) const {
  const auto found = std::ranges::lower_bound(places_, head_of(digest), {}, &Place::head);
  if (found == places_.end() || found->head != head_of(digest)) return std::nullopt;
  const ChunkPlace place = found->chunk;
  const auto digests =
      version_->reader.chunk_digests(version_->entries[place.file.value()], place.chunk, 1);
  if (!digests || digests->front() != digest) return std::nullopt;
  return place;
}

}  // namespace icbd::replicator
