#include "encoded_fetch.h"

#include <algorithm>

#include "icbd/btrfs/encoded_write.h"

#include "packed_fingerprint.h"

namespace icbd::replicator {
namespace {

std::unexpected<Error> not_asked_for() {
  return fail(ErrorCode::corrupt, "the source sent an extent that was not asked for");
}

}  // namespace

Result<std::vector<ChunkTask>> Filler::EncodedFetch::run(std::span<const ChunkTask> tasks) {
  ICBD_ASSIGN(const auto extents, plan(tasks));
  const source::EncodedSink sink{
      .plain = [this](const source::ExtentData& data) { return take_plain(data); },
      .encoded = [this](const source::EncodedExtent& extent) { return take_encoded(extent); }};
  const Digest& manifest = filler_.content_.version().facts.manifest;
  for (std::size_t at = 0; at < extents.size(); at += limits::extents_per_request)
    ICBD_TRY(filler_.source_.encoded_extents(
        manifest,
        std::span(extents).subspan(at, std::min(limits::extents_per_request, extents.size() - at)),
        sink));
  for (const auto& [place, chunk] : chunks_)
    if (chunk.state == State::arriving)
      return fail(ErrorCode::corrupt, "the source did not send all that was asked for");
  return std::move(wrong_);
}

Result<std::vector<source::Extent>> Filler::EncodedFetch::plan(std::span<const ChunkTask> tasks) {
  std::vector<source::Extent> extents;
  for (const ChunkTask& task : tasks) {
    const auto [place, added] = chunks_.try_emplace({task.file, task.chunk});
    if (!added) continue;
    Chunk& chunk = place->second;
    chunk.task = task;
    chunk.range = filler_.content_.entry(task.file).chunk_range(task.chunk);
    for (const ByteRange range : filler_.ranges_of(task, false)) {
      extents.push_back({task.file, range});
      chunk.missing.add(range);
    }
  }
  return extents;
}

Filler::EncodedFetch::Chunk* Filler::EncodedFetch::find(FileIndex file, std::uint64_t offset) {
  const auto found = chunks_.find({file, ChunkIndex(chunks_of({offset, 1}).first)});
  return found == chunks_.end() ? nullptr : &found->second;
}

// What is not asked for of a chunk is in the staged file.
Status Filler::EncodedFetch::prepare(Chunk& chunk) {
  if (!chunk.bytes.empty()) return {};
  chunk.memory = filler_.chunk_buffers_.take();
  chunk.bytes = chunk.memory.bytes.first(chunk.range.length);
  RangeSet whole = chunk.missing;
  if (whole.remove(chunk.range)) return {};
  // What cannot be read does not match, and then all of the chunk is asked for.
  if (!filler_.read_chunk(chunk.task, chunk.bytes)) std::ranges::fill(chunk.bytes, std::byte{0});
  return {};
}

Status Filler::EncodedFetch::take_plain(const source::ExtentData& data) {
  const ByteRange range = data.extent.range;
  Chunk* chunk = find(data.extent.file, range.offset);
  if (chunk == nullptr || (!data.all_zero && data.data.size() != range.length))
    return not_asked_for();
  if (range == chunk->range && !data.all_zero) return take_whole(*chunk, data.data);
  ICBD_TRY(prepare(*chunk));
  if (!chunk->missing.remove(range)) return not_asked_for();
  filler_.counters_.bytes_fetched += range.length;
  const auto place =
      chunk->bytes.begin() + static_cast<std::ptrdiff_t>(range.offset - chunk->range.offset);
  if (data.all_zero)
    std::fill_n(place, range.length, std::byte{0});
  else
    std::ranges::copy(data.data, place);
  (data.all_zero ? chunk->zeros : chunk->plain).push_back(range);
  return judge_if_whole(*chunk);
}

// All of a chunk in one plain piece: nothing of it is copied.
Status Filler::EncodedFetch::take_whole(Chunk& chunk, ByteView bytes) {
  if (!chunk.missing.remove(chunk.range)) return not_asked_for();
  filler_.counters_.bytes_fetched += bytes.size();
  if (sha256(bytes) != chunk.task.digest) {
    chunk.state = State::wrong;
    wrong_.push_back(chunk.task);
    return {};
  }
  chunk.state = State::right;
  return filler_.store(chunk.task, bytes, std::span(&chunk.range, 1), writer_);
}

Status Filler::EncodedFetch::take_encoded(const source::EncodedExtent& extent) {
  const auto packed = std::make_shared<Packed>(Packed{.extent = extent, .chunks = {}});
  for (std::uint64_t at = extent.range.offset; at < extent.range.end();) {
    Chunk* chunk = find(extent.file, at);
    if (chunk == nullptr) return not_asked_for();
    const ByteRange part = intersect(extent.range, chunk->range);
    if (part.empty()) return not_asked_for();
    ICBD_TRY(prepare(*chunk));
    if (!chunk->missing.remove(part)) return not_asked_for();
    filler_.counters_.bytes_fetched += part.length;
    packed->chunks.push_back(chunk);
    chunk->packed.push_back(packed);
    at = part.end();
  }
  unpack_into_chunks(*packed);
  const std::vector<Chunk*> reached = packed->chunks;
  for (Chunk* chunk : reached) ICBD_TRY(judge_if_whole(*chunk));
  return {};
}

void Filler::EncodedFetch::unpack_into_chunks(const Packed& packed) {
  const source::EncodedExtent& extent = packed.extent;
  const auto place = [&](const Chunk& chunk, ByteRange part) {
    return chunk.bytes.subspan(part.offset - chunk.range.offset, part.length);
  };
  // As a rule, nothing has to be copied.
  if (packed.chunks.size() == 1 && extent.unencoded_length == extent.range.length) {
    Chunk& chunk = *packed.chunks.front();
    if (!unpack(extent, place(chunk, extent.range))) chunk.damaged = true;
    return;
  }
  bool unpacked = extent.unencoded_length <= limits::extent_length;
  if (unpacked) {
    plain_.resize(extent.unencoded_length);
    unpacked = unpack(extent, plain_).has_value();
  }
  for (Chunk* chunk : packed.chunks) {
    if (!unpacked) {
      chunk->damaged = true;
      continue;
    }
    const ByteRange part = intersect(extent.range, chunk->range);
    std::ranges::copy(
        std::span(plain_).subspan(extent.unencoded_offset + (part.offset - extent.range.offset),
                                  part.length),
        place(*chunk, part).begin());
  }
}

// `plain` is as long as what it unpacks to.
Status Filler::EncodedFetch::unpack(const source::EncodedExtent& extent,
                                    std::span<std::byte> plain) {
  const sendstream::EncodedWrite command{.path = {},
                                         .offset = extent.range.offset,
                                         .unencoded_file_length = extent.range.length,
                                         .unencoded_length = extent.unencoded_length,
                                         .unencoded_offset = extent.unencoded_offset,
                                         .compression = extent.compression,
                                         .encryption = {},
                                         .data = extent.data};
  ICBD_TRY(sendstream::check_encoding(command));
  return decompressor_.decompress(command, plain);
}

Status Filler::EncodedFetch::judge_if_whole(Chunk& chunk) {
  if (chunk.state != State::arriving || !chunk.missing.empty()) return {};
  if (chunk.damaged || sha256(chunk.bytes) != chunk.task.digest) {
    chunk.state = State::wrong;
    wrong_.push_back(chunk.task);
  } else {
    chunk.state = State::right;
    filler_.answer_readers(chunk.task, chunk.bytes);
  }
  const auto packed = chunk.packed;  // finishing a chunk lets go of its own
  for (const auto& one : packed) ICBD_TRY(write_if_judged(*one));
  return finish_if_written(chunk);
}

Status Filler::EncodedFetch::write_if_judged(Packed& packed) {
  const auto is_judged = [](const Chunk* chunk) { return chunk->state != State::arriving; };
  if (packed.written || !std::ranges::all_of(packed.chunks, is_judged)) return {};
  ICBD_TRY(write(packed));
  packed.written = true;
  for (Chunk* chunk : packed.chunks) ICBD_TRY(finish_if_written(*chunk));
  return {};
}

Status Filler::EncodedFetch::write(Packed& packed) {
  const source::EncodedExtent& extent = packed.extent;
  const auto is_right = [](const Chunk* chunk) { return chunk->state == State::right; };
  if (std::ranges::all_of(packed.chunks, is_right)) {
    ICBD_ASSIGN(const int fd, writer_.open(extent.file));
    const Status written = btrfs::encoded_write(fd, {.data = extent.data,
                                                     .offset = extent.range.offset,
                                                     .file_length = extent.range.length,
                                                     .unencoded_offset = extent.unencoded_offset,
                                                     .unencoded_length = extent.unencoded_length,
                                                     .compression = extent.compression});
    if (written) {
      packed.as_it_came = true;
      filler_.counters_.bytes_stored += extent.range.length;
      filler_.counters_.bytes_encoded += extent.range.length;
      return {};
    }
    if (written.error().code() != ErrorCode::unsupported) return written;
  }
  for (const Chunk* chunk : packed.chunks) {
    if (chunk->state != State::right) continue;
    const ByteRange part = intersect(extent.range, chunk->range);
    ICBD_TRY(filler_.write_ranges(chunk->task, chunk->bytes, std::span(&part, 1), writer_));
  }
  return {};
}

// Done only when all of it is written: an extent that reaches into the next chunk waits for that.
Status Filler::EncodedFetch::finish_if_written(Chunk& chunk) {
  const auto is_written = [](const auto& packed) { return packed->written; };
  if (chunk.state != State::right || chunk.bytes.empty() ||
      !std::ranges::all_of(chunk.packed, is_written))
    return {};
  if (!filler_.is_stored(chunk.task)) {
    for (const ByteRange range : chunk.zeros) ICBD_TRY(filler_.punch(chunk.task, range, writer_));
    ICBD_TRY(filler_.write_ranges(chunk.task, chunk.bytes, chunk.plain, writer_));
    if (const auto packed = fingerprint_of_packed(chunk))
      filler_.mark_stored(chunk.task, chunk.bytes, {.bytes = *packed, .packed = true});
    else
      filler_.mark_stored(chunk.task, chunk.bytes, {.bytes = fingerprint(chunk.bytes)});
  }
  chunk.bytes = {};
  chunk.memory = {};
  chunk.packed.clear();
  return {};
}

// None if not all of it lies in extents that were written as they came.
std::optional<Fingerprint> Filler::EncodedFetch::fingerprint_of_packed(const Chunk& chunk) {
  std::vector<const Packed*> packed;
  for (const auto& one : chunk.packed) packed.push_back(one.get());
  std::ranges::sort(packed, {}, [](const Packed* one) { return one->extent.range.offset; });
  PackedFingerprint found;
  std::uint64_t at = chunk.range.offset;
  for (const Packed* one : packed) {
    const source::EncodedExtent& extent = one->extent;
    const ByteRange part = intersect(extent.range, chunk.range);
    if (!one->as_it_came || part.offset != at) return std::nullopt;
    found.add(part, extent.unencoded_offset + (part.offset - extent.range.offset),
              extent.unencoded_length, extent.compression, extent.data);
    at = part.end();
  }
  if (at != chunk.range.end()) return std::nullopt;
  return found.value();
}

}  // namespace icbd::replicator
