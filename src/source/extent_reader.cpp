#include "extent_reader.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

namespace icbd::source {
namespace {

// Reads of one request that are under way together.
constexpr std::size_t runs_ahead = 4;

// Nothing at all is zero too.
bool is_zero(ByteView data) {
  return data.empty() || (data.front() == std::byte{0} &&
                          std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// How many extents from the first on are one stretch of one file.
std::size_t run_of(std::span<const Extent> extents) {
  const Extent& first = extents.front();
  std::uint64_t length = first.range.length;
  std::size_t count = 1;
  for (; count < extents.size(); ++count) {
    const Extent& next = extents[count];
    if (next.file != first.file || next.range.offset != first.range.offset + length ||
        length + next.range.length > stretch_max)
      break;
    length += next.range.length;
  }
  return count;
}

Result<bool> is_hole(int fd, ByteRange range) {
  const off_t data = lseek(fd, static_cast<off_t>(range.offset), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return true;
  if (data < 0) return fail_errno(fmt::format("look for data at {}", range.offset));
  return static_cast<std::uint64_t>(data) >= range.end();
}

// True if all of the range is in the page cache already. False also where the kernel cannot tell.
bool is_cached(int fd, ByteRange range) {
  // Linux 6.5 (include/uapi/linux/mman.h); the C library has no name for it yet.
  constexpr long cachestat = 451;
  struct {
    std::uint64_t offset, length;
  } const asked{range.offset, range.length};
  struct {
    std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
  } answer{};
  if (syscall(cachestat, fd, &asked, &answer, 0) != 0) return false;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return answer.cached >= (range.end() + page - 1) / page - range.offset / page;
}

using Received = std::function<Status(const ExtentData&)>;

// A stretch of one file whose bytes are asked for, and perhaps on their way.
struct Run {
  const ServedFile* file = nullptr;
  std::span<const Extent> extents;
  OpenFile opened = {};
  bool hole = false;
  std::future<Result<DiskReader::Stretch>> on_its_way = {};

  ByteRange range() const {
    const std::uint64_t begin = extents.front().range.offset;
    return {begin, extents.back().range.end() - begin};
  }
};

// True if it is best left in the page cache.
bool is_for_others_too(const ReadBy& read_by, FileIndex file, std::uint64_t offset) {
  if (read_by.once == nullptr) return false;
  const bool first = read_by.once->first(file, offset);
  return !first && read_by.priority == Priority::shared_bulk;
}

Result<Run> begin_run(const ServedFile& file, OpenFiles& open_files,
                      std::span<const Extent> extents, const ReadBy& read_by) {
  Run run{.file = &file, .extents = extents};
  const bool past_cache = read_by.disk != nullptr && read_by.priority != Priority::demand &&
                          file.size >= direct_file_min;
  ICBD_ASSIGN(run.opened, open_files.open(extents.front().file, file.path, past_cache));
  const ByteRange range = run.range();
  ICBD_ASSIGN(run.hole, is_hole(run.opened.cached->get(), range));
  if (!run.hole && past_cache && run.opened.direct && !is_cached(run.opened.cached->get(), range) &&
      !is_for_others_too(read_by, extents.front().file, range.offset))
    run.on_its_way = read_by.disk->read(run.opened.direct, range);
  return run;
}

Result<DiskReader::Stretch> bytes_of(Run& run, StretchBuffers* buffers) {
  if (run.on_its_way.valid()) {
    auto stretch = run.on_its_way.get();
    if (stretch || stretch.error().code() != ErrorCode::cancelled) return stretch;
  }  // nobody reads past the page cache any more: through it, then
  const ByteRange range = run.range();
  DiskReader::Stretch stretch;
  std::span<std::byte> bytes;
  if (buffers != nullptr) {
    BufferPool::Buffer buffer = buffers->take(range.length);
    bytes = buffer.bytes.first(range.length);
    stretch = {.owner = std::move(buffer.owner), .bytes = bytes};
  } else {
    auto memory = std::make_shared_for_overwrite<std::byte[]>(range.length);
    bytes = {memory.get(), range.length};
    stretch = {.owner = std::move(memory), .bytes = bytes};
  }
  ICBD_TRY(read_exactly_at(run.opened.cached->get(), bytes, range.offset));
  return stretch;
}

Status deliver(Run& run, StretchBuffers* buffers, const Received& received) {
  DiskReader::Stretch stretch;
  if (!run.hole) {
    auto bytes = bytes_of(run, buffers);
    if (!bytes)
      return std::unexpected(bytes.error().with_context(fmt::format("\"{}\"", run.file->path)));
    stretch = std::move(*bytes);
  }
  const std::uint64_t begin = run.range().offset;
  for (const Extent& extent : run.extents) {
    ExtentData data{.extent = extent, .owner = nullptr, .data = {}, .all_zero = true};
    const ByteView bytes =
        run.hole ? ByteView()
                 : stretch.bytes.subspan(extent.range.offset - begin, extent.range.length);
    if (!is_zero(bytes)) {
      data.all_zero = false;
      data.owner = stretch.owner;
      data.data = bytes;
    }
    ICBD_TRY(received(data));
  }
  return {};
}

}  // namespace

bool ReadOnce::first(FileIndex file, std::uint64_t offset) {
  constexpr std::size_t most = 128 * 1024;
  constexpr unsigned piece_bits = 20;
  constexpr unsigned file_shift = 40;
  // A file has at most 2^26 pieces (limits::file_size), a version at most 2^24 files.
  const std::uint64_t piece = (std::uint64_t{file.value()} << file_shift) | (offset >> piece_bits);
  const std::lock_guard lock(mutex_);
  if (seen_.size() >= most) seen_.clear();
  return seen_.insert(piece).second;
}

Status check_extent(std::span<const ServedFile> files, const Extent& extent) {
  const auto refuse = [&](std::string_view why) -> Status {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} of file {}: {}", extent.range.length,
                            extent.range.offset, extent.file.value(), why));
  };
  const ByteRange& range = extent.range;
  if (extent.file.value() >= files.size()) return refuse("the version has no such file");
  const ServedFile& file = files[extent.file.value()];
  if (!file.is_file) return refuse("it is not a regular file");
  if (range.empty()) return refuse("the range is empty");
  // In this order no sum can overflow.
  if (range.length > file.size || range.offset > file.size - range.length)
    return refuse(fmt::format("the file ends at {}", file.size));
  if (range.offset / limits::chunk_size != (range.end() - 1) / limits::chunk_size)
    return refuse("the range reaches over a chunk's border");
  return {};
}

Status read_extents(std::span<const ServedFile> files, OpenFiles& open_files,
                    std::span<const Extent> extents, const ReadBy& read_by,
                    const Received& received) {
  std::deque<Run> runs;
  while (!extents.empty() || !runs.empty()) {
    while (!extents.empty() && runs.size() < runs_ahead) {
      const std::size_t count = run_of(extents);
      const ServedFile& file = files[extents.front().file.value()];
      auto run = begin_run(file, open_files, extents.first(count), read_by);
      if (!run) return std::unexpected(std::move(run).error());
      runs.push_back(std::move(*run));
      extents = extents.subspan(count);
    }
    Run run = std::move(runs.front());
    runs.pop_front();
    ICBD_TRY(deliver(run, read_by.buffers, received));
  }
  return {};
}

}  // namespace icbd::source
