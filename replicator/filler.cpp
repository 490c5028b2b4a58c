#include "icbd/replicator/filler.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "icbd/base/file.h"
#include "icbd/btrfs/encoded_read.h"
#include "icbd/btrfs/subvolume.h"

#include "encoded_fetch.h"
#include "write_back.h"

namespace icbd::replicator {
namespace {

// One request's worth.
constexpr std::size_t chunk_buffers_kept = 32;

}  // namespace

// One chunk that is being put together from local bytes and received ranges.
struct Filler::Assembly {
  ChunkTask task;
  std::vector<ByteRange> ranges;  // that are fetched
  std::size_t outstanding = 0;
  BufferPool::Buffer memory = {};
  std::span<std::byte> buffer = {};  // of the whole chunk; empty if one range covers it
};

// One call of fetch().
struct Filler::Transfer {
  source::Priority priority;
  OpenForWriting& writer;
  std::vector<ChunkTask> mismatched = {};
};

Result<int> OpenForWriting::open(FileIndex file) {
  if (!fd_ || file != file_) {
    ICBD_ASSIGN(fd_, content_.staging().open_inode(content_.inode(file), O_RDWR));
    file_ = file;
  }
  return fd_.get();
}

void OpenForWriting::written(ByteRange range) {
  if (write_back_ != nullptr) write_back_->written(file_, range);
}

Filler::Filler(Content& content, source::Source& source, ReadQueue& readers)
    : content_(content),
      source_(source),
      readers_(readers),
      wants_encoded_(btrfs::wants_compression(content.staging().root_fd())),
      chunk_buffers_(limits::chunk_size, chunk_buffers_kept) {}

void Filler::set_indexes(std::vector<std::shared_ptr<const DigestIndex>> indexes) {
  auto shared = std::make_shared<const Indexes>(std::move(indexes));
  const std::lock_guard lock(mutex_);
  indexes_.swap(shared);
}

Result<Bytes> Filler::read_chunk(const ChunkTask& task) const {
  Bytes chunk(content_.entry(task.file).chunk_range(task.chunk).length);
  ICBD_TRY(read_chunk(task, chunk));
  return chunk;
}

Status Filler::read_chunk(const ChunkTask& task, std::span<std::byte> chunk) const {
  ICBD_ASSIGN(const unique_fd fd,
              content_.staging().open_inode(content_.inode(task.file), O_RDONLY));
  return read_exactly_at(fd.get(), chunk, content_.entry(task.file).chunk_range(task.chunk).offset);
}

// The chunk's bytes are in the staged file: readers are answered from there.
Status Filler::finish_locally(const ChunkTask& task) {
  const ChunkNumber number = content_.chunks().number(task.file, task.chunk);
  const auto jobs = readers_.take_and_finish(content_.chunks(), number);
  if (jobs.empty()) return {};
  const auto chunk = read_chunk(task);
  const ByteRange range = content_.entry(task.file).chunk_range(task.chunk);
  for (const auto& job : jobs) {
    if (chunk)
      job->finish_part(range, *chunk);
    else
      job->fail(chunk.error());
  }
  return {};
}

Status Filler::punch(const ChunkTask& task, ByteRange range, OpenForWriting& writer) {
  ICBD_ASSIGN(const int fd, writer.open(task.file));
  if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                  static_cast<off_t>(range.length)) != 0)
    return fail_errno(fmt::format("punch a hole into /{}", content_.entry(task.file).path));
  ++counters_.writes;
  return {};
}

Status Filler::fill_zeros(const ChunkTask& task, OpenForWriting& writer) {
  const ByteRange range = content_.entry(task.file).chunk_range(task.chunk);
  // A whole chunk, also at the end of the file: what lies past it does not change.
  ICBD_TRY(punch(task, {range.offset, limits::chunk_size}, writer));
  return finish_locally(task);
}

Result<bool> Filler::fill_locally(const ChunkTask& task, OpenForWriting& writer) {
  const ByteRange range = content_.entry(task.file).chunk_range(task.chunk);
  if (task.digest == sha256_of_zeros(range.length)) {
    ICBD_TRY(fill_zeros(task, writer));
    return true;
  }
  if (content_.is_rewritten(task.file, task.chunk)) {
    const auto chunk = read_chunk(task);
    if (chunk && sha256(*chunk) == task.digest) {
      ICBD_TRY(finish_locally(task));
      return true;
    }
  }
  if (!shares_) return false;
  const std::shared_ptr<const Indexes> indexes = [&] {
    const std::lock_guard lock(mutex_);
    return indexes_;
  }();
  for (const auto& index : *indexes) {
    const auto place = index->find(task.digest);
    if (!place) continue;
    const manifest::Entry& from = index->version().entries[place->file.value()];
    // The version was verified as a whole, but a version whose file cannot be opened any more must
    // not end this arrival: the source still has the bytes.
    const auto fd = open_at(index->version().subvolume.root_fd(), from.path, O_RDONLY | O_NOFOLLOW);
    if (!fd) continue;
    ICBD_ASSIGN(const bool shared, share(task, fd->get(), from.chunk_range(place->chunk), writer));
    if (shared) return true;
  }
  return false;
}

Result<bool> Filler::fill_from(const ChunkTask& same, const ChunkTask& task,
                               OpenForWriting& writer) {
  if (!shares_ || !is_stored(same)) return false;
  ICBD_ASSIGN(const unique_fd fd,
              content_.staging().open_inode(content_.inode(same.file), O_RDONLY));
  return share(task, fd.get(), content_.entry(same.file).chunk_range(same.chunk), writer);
}

Result<bool> Filler::share(const ChunkTask& task, int source_fd, ByteRange source,
                           OpenForWriting& writer) {
  const ByteRange range = content_.entry(task.file).chunk_range(task.chunk);
  // Chunks of one digest are of one length, unless a manifest lies.
  if (source.length != range.length) return false;
  ICBD_ASSIGN(const int fd, writer.open(task.file));
  const Status cloned =
      btrfs::clone_range(source_fd, source.offset, fd, range.offset, range.length);
  if (!cloned) {
    // Not shareable (a file without checksums, an odd end): the bytes themselves, verified.
    Bytes chunk(range.length);
    if (!read_exactly_at(source_fd, chunk, source.offset) || sha256(chunk) != task.digest)
      return false;
    ICBD_TRY(store(task, chunk, std::span(&range, 1), writer));
  } else {
    ++counters_.writes;
    ICBD_TRY(finish_locally(task));
  }
  counters_.bytes_shared += range.length;
  return true;
}

void Filler::answer_readers(const ChunkTask& task, ByteView chunk) {
  const ByteRange whole = content_.entry(task.file).chunk_range(task.chunk);
  const ChunkNumber number = content_.chunks().number(task.file, task.chunk);
  for (const auto& job : readers_.take(number)) job->finish_part(whole, chunk);
}

bool Filler::is_stored(const ChunkTask& task) const {
  return content_.chunks().state(content_.chunks().number(task.file, task.chunk)) ==
         ChunkState::done;
}

Status Filler::write_ranges(const ChunkTask& task, ByteView chunk,
                            std::span<const ByteRange> ranges, OpenForWriting& writer) {
  const ByteRange whole = content_.entry(task.file).chunk_range(task.chunk);
  ICBD_ASSIGN(const int fd, writer.open(task.file));
  for (const ByteRange range : ranges) {
    const ByteView part = chunk.subspan(range.offset - whole.offset, range.length);
    if (const Status written = write_at(fd, part, range.offset); !written)
      return std::unexpected(
          written.error().with_context(fmt::format("store /{}", content_.entry(task.file).path)));
    writer.written(range);
    counters_.bytes_stored += range.length;
  }
  return {};
}

void Filler::mark_stored(const ChunkTask& task, ByteView chunk, ChunkMap::Written written) {
  const ByteRange whole = content_.entry(task.file).chunk_range(task.chunk);
  const ChunkNumber number = content_.chunks().number(task.file, task.chunk);
  ++counters_.writes;
  content_.chunks().remember_written(number, written);
  for (const auto& job : readers_.take_and_finish(content_.chunks(), number))
    job->finish_part(whole, chunk);
}

Status Filler::store(const ChunkTask& task, ByteView chunk, std::span<const ByteRange> ranges,
                     OpenForWriting& writer) {
  answer_readers(task, chunk);
  // Two readers' fetches may bring the same chunk: it is written once.
  if (is_stored(task)) return {};
  ICBD_TRY(write_ranges(task, chunk, ranges, writer));
  mark_stored(task, chunk, {.bytes = fingerprint(chunk)});
  return {};
}

Result<bool> Filler::offer(const ChunkTask& task, ByteView chunk, std::span<const ByteRange> ranges,
                           OpenForWriting& writer) {
  for (const ByteRange range : ranges) counters_.bytes_fetched += range.length;
  if (sha256(chunk) != task.digest) return false;
  ICBD_TRY(store(task, chunk, ranges, writer));
  return true;
}

// What is not fetched of a chunk is needed when the rest has come, to verify it: the disk brings it
// meanwhile. A failure shows when it is read.
void Filler::read_ahead(std::span<const ChunkTask> tasks, OpenForWriting& writer) const {
  for (const ChunkTask& task : tasks) {
    const ByteRange whole = content_.entry(task.file).chunk_range(task.chunk);
    if (std::ranges::equal(content_.missing_ranges(task.file, task.chunk), std::array{whole}))
      continue;
    const auto fd = writer.open(task.file);
    if (!fd) return;
    static_cast<void>(::posix_fadvise(*fd, static_cast<off_t>(whole.offset),
                                      static_cast<off_t>(whole.length), POSIX_FADV_WILLNEED));
  }
}

Status Filler::fetch(std::span<const ChunkTask> tasks, source::Priority priority,
                     OpenForWriting& writer) {
  read_ahead(tasks, writer);
  Transfer transfer{.priority = priority, .writer = writer};
  if (wants_encoded_ && priority == source::Priority::bulk) {
    ICBD_ASSIGN(transfer.mismatched, EncodedFetch(*this, writer).run(tasks));
  } else {
    ICBD_TRY(fetch_tasks(tasks, false, transfer));
  }
  if (transfer.mismatched.empty()) return {};
  // The shape was wrong about what the rest of the chunk holds, or a compressed extent does not
  // unpack to what it should: the manifest is the authority.
  const std::vector<ChunkTask> again = std::exchange(transfer.mismatched, {});
  ICBD_TRY(fetch_tasks(again, true, transfer));
  if (transfer.mismatched.empty()) return {};
  const ChunkTask& bad = transfer.mismatched.front();
  return fail(ErrorCode::corrupt,
              fmt::format("chunk {} of /{} does not match its manifest: the source sent other "
                          "bytes twice (is its disk sound?)",
                          bad.chunk.value(), content_.entry(bad.file).path));
}

std::vector<ByteRange> Filler::ranges_of(const ChunkTask& task, bool whole) const {
  if (whole) return {content_.entry(task.file).chunk_range(task.chunk)};
  return content_.missing_ranges(task.file, task.chunk);
}

Status Filler::fetch_tasks(std::span<const ChunkTask> tasks, bool whole, Transfer& transfer) {
  std::vector<source::Extent> extents;
  std::map<std::pair<FileIndex, ChunkIndex>, Assembly> assemblies;
  for (const ChunkTask& task : tasks) {
    Assembly assembly{.task = task, .ranges = ranges_of(task, whole)};
    assembly.outstanding = assembly.ranges.size();
    for (const ByteRange range : assembly.ranges) extents.push_back({task.file, range});
    assemblies.try_emplace({task.file, task.chunk}, std::move(assembly));
  }
  for (std::size_t at = 0; at < extents.size(); at += limits::extents_per_request) {
    const auto part =
        std::span(extents).subspan(at, std::min(limits::extents_per_request, extents.size() - at));
    ICBD_TRY(source_.extents(content_.version().facts.manifest, part, transfer.priority,
                             [&](const source::ExtentData& data) -> Status {
                               const ChunkIndex chunk(chunks_of(data.extent.range).first);
                               const auto found = assemblies.find({data.extent.file, chunk});
                               if (found == assemblies.end())
                                 return fail(ErrorCode::corrupt,
                                             "the source sent an extent that was not asked for");
                               return receive(found->second, data, transfer);
                             }));
  }
  return {};
}

Status Filler::receive(Assembly& assembly, const source::ExtentData& data, Transfer& transfer) {
  const ByteRange range = data.extent.range;
  const ByteRange whole = content_.entry(assembly.task.file).chunk_range(assembly.task.chunk);
  if (assembly.outstanding == 0 ||
      std::ranges::find(assembly.ranges, range) == assembly.ranges.end() ||
      (!data.all_zero && data.data.size() != range.length))
    return fail(ErrorCode::corrupt, "the source sent an extent that was not asked for");
  counters_.bytes_fetched += range.length;
  if (transfer.priority == source::Priority::demand) counters_.bytes_demanded += range.length;
  --assembly.outstanding;

  ByteView chunk = data.data;
  if (range != whole || data.all_zero) {
    if (assembly.buffer.empty()) {
      assembly.memory = chunk_buffers_.take();
      assembly.buffer = assembly.memory.bytes.first(whole.length);
      // What cannot be read does not match, and then all of it is asked for.
      if (range != whole && !read_chunk(assembly.task, assembly.buffer))
        std::ranges::fill(assembly.buffer, std::byte{0});
    }
    const auto place =
        assembly.buffer.begin() + static_cast<std::ptrdiff_t>(range.offset - whole.offset);
    if (data.all_zero)
      std::fill_n(place, range.length, std::byte{0});
    else
      std::ranges::copy(data.data, place);
    chunk = assembly.buffer;
  }
  if (assembly.outstanding != 0) return {};
  if (sha256(chunk) != assembly.task.digest) {
    transfer.mismatched.push_back(assembly.task);
  } else {
    const Status stored = store(assembly.task, chunk, assembly.ranges, transfer.writer);
    // Its readers have their bytes. That there is no room for them is bulk's concern.
    if (!stored && (transfer.priority != source::Priority::demand ||
                    stored.error().code() != ErrorCode::no_space))
      return stored;
  }
  assembly.buffer = {};
  assembly.memory = {};
  return {};
}

}  // namespace icbd::replicator
