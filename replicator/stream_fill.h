// Filling from the source's send stream: as much of what is pending as it brings.
//
// Purpose: names and metadata are here since the shape; of the stream, only the bytes of files are
// used. The writes to a chunk are put together, held against its digest in memory, and stored as
// any chunk is: so a stream can be late, cut, wrong, or of another version, and nothing that is
// wrong is ever stored, marked as done or shown to a reader. Readers go on being served from
// extents meanwhile, and what has come for them is not written again.
// What it does not bring is pending afterwards and comes as extents: files that have another name
// in the middle of the stream than at its end, bytes that it clones from elsewhere, all that is
// missing when it is cut.
// Lifecycle: construct, run() once. The calling thread takes the stream apart; a few workers verify
// and store.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <queue>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "icbd/replicator/filler.h"
#include "icbd/sendstream/decoder.h"

namespace icbd::replicator {

class StreamFill {
 public:
  struct Calls {
    std::function<Status()> upkeep;  // now and then: checkpoints, room; an error ends the fill
    // So many bytes have come: how long to pause.
    std::function<std::chrono::nanoseconds(std::uint64_t)> pace;
  };
  StreamFill(Content& content, Filler& filler, std::atomic<std::uint64_t>& pending_bytes,
             Calls calls);
  ~StreamFill();

  // An error of the stream is one of `stream`, and the rest can come in another way; else of what
  // stores it, or `cancelled`, which end the fill.
  struct Outcome {
    Status stream;
    Status fill;
  };
  Outcome run(source::Source& source, std::stop_token stop);

 private:
  // The writes of a chunk.
  struct Piece {
    FileIndex file;
    ChunkIndex chunk;
    Bytes bytes;                    // of the whole chunk, where it was written
    std::vector<ByteRange> ranges;  // of the file: what was written, in order
  };
  using Batch = std::vector<Piece>;

  Status take(ByteView piece, const std::stop_token& stop);
  Status look_after(std::uint64_t bytes, const std::stop_token& stop);
  Status apply(const sendstream::Command& command);
  Status write(const std::string& path, std::uint64_t offset, ByteView data);
  std::optional<FileIndex> find(const std::string& path) const;
  void add(Piece& piece, std::uint64_t offset, ByteView data) const;
  Status end_piece();
  Status push_batch();
  void work();
  Status store(Piece& piece, OpenForWriting& writer);
  Status fill_gaps(const ChunkTask& task, Piece& piece) const;
  void end_workers();

  Content& content_;
  Filler& filler_;
  std::atomic<std::uint64_t>& pending_bytes_;
  Calls calls_;
  sendstream::Decoder decoder_;
  std::string path_;  // that was written to last
  std::optional<FileIndex> file_;
  std::optional<Piece> piece_;
  Status fill_;  // what ends the fill, seen by the thread that takes the stream apart
  Batch batch_;
  std::size_t batch_bytes_ = 0;
  std::vector<std::jthread> threads_;

  std::mutex mutex_;  // guards what is below
  std::condition_variable_any changed_;
  std::queue<Batch> batches_;
  bool closed_ = false;
  std::optional<Error> failure_;
};

}  // namespace icbd::replicator
