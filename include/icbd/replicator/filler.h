// Fills chunks: from what is here, else from the source; verifies, answers waiting readers, stores.
//
// Purpose: the one place where bytes of an arriving version are verified and written. Demand and
// bulk use the same steps with another priority.
//
//   local:  zeros -> punched hole · rewritten by the stream -> local bytes are hashed · equal chunk
//           in a complete version, or in this one -> shared (reflinked, else copied)
//   remote: only the changed ranges are asked for; the assembled chunk is verified in memory; then
//           readers are answered from that buffer; then the changed ranges are written
//   encoded: where this filesystem wants compression, bulk asks for compressed extents as they are:
//           unpacked to be verified, and written as they came if all of their chunks are right
//
// Guarantees: thread-safe. A chunk is marked done only after its bytes are verified and written.
// Nothing that does not match its digest is served or stored; a chunk whose parts do not add up to
// its digest is fetched whole once before it is given up as `corrupt`.
// A full disk: readers are answered all the same, from memory; what they waited for stays pending.
// Bulk ends with no_space.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "icbd/base/buffer_pool.h"
#include "icbd/replicator/content.h"
#include "icbd/replicator/digest_index.h"
#include "icbd/replicator/read_queue.h"

namespace icbd::replicator {

struct ChunkTask {
  FileIndex file;
  ChunkIndex chunk;
  Digest digest;
};

struct FillCounters {
  // Changes of staged files; counted when they are made and before their chunks are done, so that
  // as long as this stays what it was before a sync, all that is done is on disk.
  std::atomic<std::uint64_t> writes = 0;
  std::atomic<std::uint64_t> bytes_fetched = 0;   // asked for and received
  std::atomic<std::uint64_t> bytes_demanded = 0;  // of these, because a reader waited
  std::atomic<std::uint64_t> bytes_stored = 0;    // written
  std::atomic<std::uint64_t> bytes_encoded = 0;   // of these, as compressed extents as they came
  std::atomic<std::uint64_t> bytes_shared = 0;    // reflinked or copied from what is here
};

class WriteBack;

// A writable descriptor that is kept for the file in hand.
class OpenForWriting {
 public:
  // With `write_back`, which outlives this, the kernel begins early to write what is stored.
  explicit OpenForWriting(const Content& content, WriteBack* write_back = nullptr)
      : content_(content), write_back_(write_back) {}
  Result<int> open(FileIndex file);
  // Of the file that is open.
  void written(ByteRange range);

 private:
  const Content& content_;
  WriteBack* const write_back_;
  FileIndex file_;
  unique_fd fd_;
};

class Filler {
 public:
  Filler(Content& content, source::Source& source, ReadQueue& readers);

  // Complete versions whose chunks may be shared, best first.
  void set_indexes(std::vector<std::shared_ptr<const DigestIndex>> indexes);

  // True if the chunk could be filled without the source; it is done then and its readers served.
  Result<bool> fill_locally(const ChunkTask& task, OpenForWriting& writer);
  // The same, from another chunk of this arrival with the same digest, which is done. False if it
  // cannot be had from there.
  Result<bool> fill_from(const ChunkTask& same, const ChunkTask& task, OpenForWriting& writer);
  // The chunk's bytes are in the staged file already: marks it done and serves its readers.
  Status finish_locally(const ChunkTask& task);
  // Asks the source for all tasks in one request.
  Status fetch(std::span<const ChunkTask> tasks, source::Priority priority, OpenForWriting& writer);

  // Bytes that somebody has brought unasked, of a whole chunk; `ranges` of it are new. True if they
  // are the chunk's: then they are stored. Else nothing has happened.
  Result<bool> offer(const ChunkTask& task, ByteView chunk, std::span<const ByteRange> ranges,
                     OpenForWriting& writer);
  // The staged file's bytes of a chunk, whatever they are.
  Result<Bytes> staged(const ChunkTask& task) const { return read_chunk(task); }
  // From now on everything is asked for plainly: the kernel may not read a compressed extent as we
  // did.
  void give_up_encoded() { wants_encoded_ = false; }
  // From now on nothing is taken from other chunks here: one of them may be unreadable.
  void give_up_sharing() { shares_ = false; }

  const FillCounters& counters() const { return counters_; }

 private:
  struct Assembly;
  struct Transfer;
  class EncodedFetch;
  std::vector<ByteRange> ranges_of(const ChunkTask& task, bool whole) const;
  void read_ahead(std::span<const ChunkTask> tasks, OpenForWriting& writer) const;
  Status receive(Assembly& assembly, const source::ExtentData& data, Transfer& transfer);
  Status fetch_tasks(std::span<const ChunkTask> tasks, bool whole, Transfer& transfer);
  // Answers readers, writes `ranges` of the verified chunk, marks it done, answers late readers.
  Status store(const ChunkTask& task, ByteView chunk, std::span<const ByteRange> ranges,
               OpenForWriting& writer);
  // The steps of store().
  void answer_readers(const ChunkTask& task, ByteView chunk);
  Status write_ranges(const ChunkTask& task, ByteView chunk, std::span<const ByteRange> ranges,
                      OpenForWriting& writer);
  // `written`: of the chunk, or of how it was packed.
  void mark_stored(const ChunkTask& task, ByteView chunk, ChunkMap::Written written);
  bool is_stored(const ChunkTask& task) const;
  // From an equal chunk in another file.
  Result<bool> share(const ChunkTask& task, int source_fd, ByteRange source,
                     OpenForWriting& writer);
  Status punch(const ChunkTask& task, ByteRange range, OpenForWriting& writer);
  Status fill_zeros(const ChunkTask& task, OpenForWriting& writer);
  Result<Bytes> read_chunk(const ChunkTask& task) const;
  Status read_chunk(const ChunkTask& task, std::span<std::byte> chunk) const;

  Content& content_;
  source::Source& source_;
  ReadQueue& readers_;
  std::atomic<bool> wants_encoded_;
  std::atomic<bool> shares_ = true;
  using Indexes = std::vector<std::shared_ptr<const DigestIndex>>;
  mutable std::mutex mutex_;  // guards indexes_
  std::shared_ptr<const Indexes> indexes_ = std::make_shared<const Indexes>();
  FillCounters counters_;
  BufferPool chunk_buffers_;  // for chunks that are put together
};

}  // namespace icbd::replicator
