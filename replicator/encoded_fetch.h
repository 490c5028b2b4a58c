// One request of bulk whose answer may hold compressed extents as they lie on the source's disk.
//
// Purpose: where both filesystems compress, packing is what an arrival costs most: the kernel here
// would pack again what the source's has packed already. Such an extent is unpacked in memory; each
// chunk is verified by its SHA-256 as always; and if all chunks that the extent reaches into are
// right, it is written as it came (BTRFS_IOC_ENCODED_WRITE).
// What does not unpack, or not to the right bytes, is asked for again plainly; what the kernel
// refuses to take as it is, is written plainly.
// Lifecycle: construct, run() once. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "icbd/base/fingerprint.h"
#include "icbd/base/range_set.h"
#include "icbd/replicator/filler.h"
#include "icbd/sendstream/decompress.h"

namespace icbd::replicator {

class Filler::EncodedFetch {
 public:
  EncodedFetch(Filler& filler, OpenForWriting& writer) : filler_(filler), writer_(writer) {}

  // Returns the chunks that are not what their digests say.
  Result<std::vector<ChunkTask>> run(std::span<const ChunkTask> tasks);

 private:
  enum class State : std::uint8_t { arriving, right, wrong };
  struct Packed;
  struct Chunk {
    ChunkTask task;
    ByteRange range;
    RangeSet missing;
    State state = State::arriving;
    bool damaged = false;               // an extent of it does not unpack
    BufferPool::Buffer memory = {};     // taken when the first of it comes
    std::span<std::byte> bytes = {};    // of all of it, from then on
    std::vector<ByteRange> plain = {};  // what came so, to be written so
    std::vector<ByteRange> zeros = {};  // what came so, to be a hole
    std::vector<std::shared_ptr<Packed>> packed = {};
  };
  struct Packed {
    source::EncodedExtent extent;
    std::vector<Chunk*> chunks;  // that it reaches into
    bool written = false;
    bool as_it_came = false;  // written, and not plainly
  };

  Result<std::vector<source::Extent>> plan(std::span<const ChunkTask> tasks);
  Chunk* find(FileIndex file, std::uint64_t offset);
  Status take_plain(const source::ExtentData& data);
  Status take_whole(Chunk& chunk, ByteView bytes);
  Status take_encoded(const source::EncodedExtent& extent);
  Status unpack(const source::EncodedExtent& extent, std::span<std::byte> plain);
  void unpack_into_chunks(const Packed& packed);
  Status prepare(Chunk& chunk);
  Status judge_if_whole(Chunk& chunk);
  Status write_if_judged(Packed& packed);
  Status write(Packed& packed);
  Status finish_if_written(Chunk& chunk);
  static std::optional<Fingerprint> fingerprint_of_packed(const Chunk& chunk);

  Filler& filler_;
  OpenForWriting& writer_;
  std::map<std::pair<FileIndex, ChunkIndex>, Chunk> chunks_;
  std::vector<ChunkTask> wrong_;
  sendstream::ExtentDecompressor decompressor_;
  Bytes plain_;  // of the extent in hand, if it does not lie in one chunk
};

}  // namespace icbd::replicator
