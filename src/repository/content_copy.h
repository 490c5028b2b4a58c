// Makes one file's content that of another, changing no more than differs.
//
// Purpose: what stays as it was keeps sharing its extents with the version before, and is neither
// hashed nor transferred again.
#pragma once

#include <atomic>
#include <cstdint>

#include "icbd/base/error.h"

namespace icbd::repository {

struct CopyOptions {
  // Both files are on one BTRFS: what differs is told by their extents and reflinked, and nothing
  // is read. Where the kernel refuses that (files without copy-on-write), it is read after all.
  bool share = false;
  std::atomic<std::uint64_t>* bytes_done = nullptr;  // grows to the size, holes included
  const std::atomic<bool>* cancelled = nullptr;
};

struct CopyCounts {
  std::uint64_t read = 0;     // of the source
  std::uint64_t written = 0;  // copied into the destination
  std::uint64_t shared = 0;   // reflinked into it
};

// The first `size` bytes of the source; the destination gets this size. It is compared in blocks of
// limits::chunk_size, and only blocks that differ are written. Holes and blocks of zeros become
// holes. `busy` if the source turns out to be shorter: somebody changes it.
Result<CopyCounts> copy_content(int source_fd, int destination_fd, std::uint64_t size,
                                const CopyOptions& options);

// What copy_content() with `share` would have to reflink: bytes whose extents differ.
Result<std::uint64_t> differing_bytes(int source_fd, int destination_fd, std::uint64_t size);
// Bytes that are not in holes, of the first `size`.
Result<std::uint64_t> bytes_with_data(int fd, std::uint64_t size);

}  // namespace icbd::repository
