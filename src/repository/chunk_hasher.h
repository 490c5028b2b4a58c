// Hashes the chunks of many files with several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "icbd/base/digest.h"
#include "icbd/base/error.h"
#include "icbd/manifest/manifest.h"

namespace icbd::repository {

// The chunks of one regular file.
struct FileChunks {
  explicit FileChunks(const manifest::Entry& file)
      : entry(&file), digests(file.chunk_count()), known(file.chunk_count()) {}

  const manifest::Entry* entry;
  std::vector<Digest> digests;
  std::vector<bool> known;  // its digest is there: not to be read
};

// While hashing; read by others. Both count holes too, so that they end up equal.
struct HashProgress {
  std::atomic<std::uint64_t>& bytes_total;
  std::atomic<std::uint64_t>& bytes_done;
  const std::atomic<bool>* cancelled = nullptr;  // looked at now and then
};

// Fills in every digest that is not known, reading the files by their paths below `root_fd`.
// Holes are not read. Returns the bytes that were. `cancelled`
// if somebody has set that.
Result<std::uint64_t> hash_unknown_chunks(int root_fd, std::span<FileChunks> files,
                                          HashProgress progress);

}  // namespace icbd::repository
