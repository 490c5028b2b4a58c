// Reads extents of a version's files, in as few reads as their order allows.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "icbd/source/source.h"

#include "disk_reader.h"
#include "open_files.h"

namespace icbd::source {

// What is needed of a manifest's entry.
struct ServedFile {
  std::string path;
  std::uint64_t size = 0;
  bool is_file = false;  // a regular file, by its first name
};

// invalid_argument unless the extent lies in one chunk of a regular file.
Status check_extent(std::span<const ServedFile> files, const Extent& extent);

// What of a version was read past the page cache, in pieces of 1 MiB of a file. While several
// caches fetch, whoever wants the same again is another one of them: then it is read through the
// page cache, for those that come after. Thread-safe. Memory: some MiB; beyond that it begins anew.
class ReadOnce {
 public:
  // True the first time.
  bool first(FileIndex file, std::uint64_t offset);

 private:
  std::mutex mutex_;
  std::unordered_set<std::uint64_t> seen_;
};

// Smaller files are read through the page cache: a second open(2) costs more than it gains.
inline constexpr std::uint64_t direct_file_min = 256 * 1024;

// How the bytes are read.
struct ReadBy {
  // Reads what is not in the page cache, past it, several stretches at a time; null: nothing is.
  DiskReader* disk = nullptr;
  ReadOnce* once = nullptr;           // null: always past it
  StretchBuffers* buffers = nullptr;  // for what is read through it; null: memory of its own
  Priority priority = Priority::bulk;
};

// Calls `received` for each extent, in their order, on this thread. The extents were checked.
// What readers wait for is read through the page cache: other caches' readers will want it too.
Status read_extents(std::span<const ServedFile> files, OpenFiles& open_files,
                    std::span<const Extent> extents, const ReadBy& read_by,
                    const std::function<Status(const ExtentData&)>& received);

}  // namespace icbd::source
