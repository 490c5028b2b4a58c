// Readers that wait for chunks of an arriving version.
//
// Purpose: a read of bytes that are not all here becomes a job; each chunk that arrives completes
// its part, from the verified buffer before it is stored; the last part calls the reader back.
// Lifecycle: add() registers, deliver()/serve() complete, fail() and expire end jobs with an error.
// A job that is neither is ended when its deadline passes (see Arrival).
// Thread-safe. Callbacks run on the thread that completes the last part, with no lock held.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/replicator/chunk_map.h"

namespace icbd::replicator {

using ReadDone = std::function<void(Result<Bytes>)>;

// One waiting read. Completed exactly once, by whoever comes first.
class ReadJob {
 public:
  ReadJob(FileIndex file, ByteRange range, ReadDone done);
  ~ReadJob();  // calls back with `cancelled` if nothing else did
  ReadJob(const ReadJob&) = delete;
  ReadJob& operator=(const ReadJob&) = delete;

  FileIndex file() const { return file_; }
  ByteRange range() const { return range_; }
  // One more part to wait for. The job begins with one, which its maker finishes last.
  void expect_part();
  // Copies what the job wants of these bytes and finishes a part.
  void finish_part(ByteRange bytes_range, ByteView bytes);
  void finish_part();
  void fail(const Error& error);
  bool finished() const;

 private:
  void complete(Result<Bytes> result);

  const FileIndex file_;
  const ByteRange range_;
  mutable std::mutex mutex_;
  Bytes buffer_;
  std::size_t parts_ = 1;
  ReadDone done_;  // empty once called
};

class ReadQueue {
 public:
  // False if the chunk became done meanwhile: the caller reads it locally. Otherwise the job waits
  // for it; `first` is set if nobody has asked for the chunk yet.
  bool add(const ChunkMap& chunks, ChunkNumber chunk, const std::shared_ptr<ReadJob>& job,
           bool& first);
  // The jobs that wait for a chunk, taken out. The chunk stays marked as asked for.
  std::vector<std::shared_ptr<ReadJob>> take(ChunkNumber chunk);
  // Marks the chunk done and takes the jobs out: none can come after.
  std::vector<std::shared_ptr<ReadJob>> take_and_finish(ChunkMap& chunks, ChunkNumber chunk);
  // True if a live job waits for the chunk. Finished jobs are dropped; with none left, the chunk
  // is no longer asked for.
  bool is_wanted(ChunkNumber chunk);
  // Ends every job.
  void fail_all(const Error& error);
  std::size_t waiting() const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<ChunkNumber, std::vector<std::shared_ptr<ReadJob>>> waiting_;
};

}  // namespace icbd::replicator
