// Every chunk of an arriving version against the manifest, before it may be called complete.
//
// Purpose: what filling believes to have done is looked at once more, on the filesystem itself:
//   - a file whose inode is the parent's own, where both manifests have the same content, is what
//     it was: nothing is looked at;
//   - a chunk whose range lies on the same extents as the parent's, where the parent's manifest has
//     the same digest, is the parent's verified chunk: nothing is read;
//   - a range without written extents is zeros;
//   - everything else is read back and compared: with the fingerprint of what this process verified
//     by its digest and wrote (of packed bytes, where it wrote those as they came), else with the
//     digest.
// What this process wrote need not be synced for that: it can be compared while the disk takes it.
// So the cost follows what this arrival wrote, and a mistake of the shape, of its application or of
// filling is found whatever its cause.
// Lifecycle: with no writer left, construct and compare_written(); when everything is synced, run()
// once, for what that left open. `shared` was looked at after the sync.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "icbd/replicator/content.h"

#include "shared_inodes.h"

namespace icbd::replicator {

struct CheckedChunk {
  FileIndex file;
  ChunkIndex chunk;
};

struct LandingCheckReport {
  std::vector<CheckedChunk> damaged;  // not what the manifest says
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_shared = 0;  // proven by their extents
};

class LandingCheck {
 public:
  explicit LandingCheck(Content& content);

  // Reads back what this process has written. May be left out: run() does it then. An error only if
  // something could not be looked at, as of run(); `cancelled` if stopped.
  Status compare_written(std::stop_token stop);
  Result<LandingCheckReport> run(const SharedInodes& shared, std::stop_token stop);

 private:
  struct Window {
    FileIndex file;
    ChunkIndex first;
    std::uint32_t count = 0;
  };
  using Look = std::function<Status(const Window&, LandingCheckReport&)>;
  // Of at most so many chunks each.
  void add_windows(FileIndex file, std::uint32_t size, std::vector<Window>& windows) const;
  // In which something was written; `packed` becomes true if any of it was stored packed.
  std::vector<Window> written_windows(bool& packed) const;
  // Of the files that have to be looked at; counts the others.
  std::vector<Window> open_windows(const SharedInodes& shared, LandingCheckReport& report) const;
  // Adds to the report.
  static Status look_at(std::span<const Window> windows, unsigned most_threads, const Look& look,
                        const std::stop_token& stop, LandingCheckReport& report);
  Status compare_written(const Window& window, LandingCheckReport& report);
  bool is_compared(const Window& window) const;
  Status check_window(const Window& window, LandingCheckReport& report) const;
  bool is_right(ByteView bytes, ChunkNumber number, const Digest& digest) const;
  Status read_back(const Window& window, std::span<const Digest> digests,
                   std::span<const bool> proven, LandingCheckReport& report) const;

  Content& content_;
  // By chunk number: read back and found to be what was written. Threads look at different ones.
  std::unique_ptr<bool[]> compared_;
  std::uint64_t bytes_compared_ = 0;
};

}  // namespace icbd::replicator
