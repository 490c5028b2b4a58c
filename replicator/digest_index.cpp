#include "icbd/replicator/digest_index.h"

namespace icbd::replicator {

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
        index.places_.try_emplace(digests[chunk], ChunkPlace{FileIndex(file), ChunkIndex(chunk)});
  }
  return index;
}

std::optional<ChunkPlace> DigestIndex::find(const Digest& digest) const {
  const auto found = places_.find(digest);
  if (found == places_.end()) return std::nullopt;
  return found->second;
}

}  // namespace icbd::replicator
