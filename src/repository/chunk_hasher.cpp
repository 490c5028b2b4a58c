#include "chunk_hasher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"

namespace icbd::repository {
namespace {

// What a thread takes at once: large enough that opening the file again does not count, small
// enough that one disk image keeps all threads busy.
constexpr std::uint32_t chunks_per_unit = 8 * 1024 * 1024 / limits::chunk_size;
// Hashing is faster than most disks from here on.
constexpr unsigned threads_max = 16;

// A run of chunks of one file.
struct Unit {
  std::size_t file = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

void add_units(std::vector<Unit>& units, std::size_t index, const FileChunks& file) {
  const auto count = static_cast<std::uint32_t>(file.digests.size());
  for (std::uint32_t first = 0; first < count;) {
    std::uint32_t end = first;
    while (end < count && end - first < chunks_per_unit && !file.known[end]) ++end;
    if (end > first) units.push_back({.file = index, .first = first, .count = end - first});
    first = std::max(end, first + 1);
  }
}

// Where the file's first data at or after `offset` begins; none if only a hole follows.
Result<std::optional<std::uint64_t>> next_data(int fd, std::uint64_t offset) {
  const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data >= 0) return static_cast<std::uint64_t>(data);
  if (errno == ENXIO) return std::nullopt;
  return fail_errno(fmt::format("look for data at {}", offset));
}

class Hasher {
 public:
  Hasher(int root_fd, std::span<FileChunks> files, HashProgress progress)
      : root_fd_(root_fd), files_(files), progress_(progress) {
    std::uint64_t total = 0;
    for (std::size_t index = 0; index < files.size(); ++index)
      add_units(units_, index, files[index]);
    for (const Unit& unit : units_) total += range_of(unit).length;
    progress_.bytes_total = total;
  }

  Result<std::uint64_t> run() {
    const unsigned wanted = std::clamp(std::thread::hardware_concurrency(), 1u, threads_max);
    const std::size_t threads = std::min<std::size_t>(wanted, units_.size());
    {
      std::vector<std::jthread> helpers;
      try {
        while (helpers.size() + 1 < threads) helpers.emplace_back([this] { work(); });
        // NOLINTNEXTLINE(bugprone-empty-catch): fewer threads are slower, not wrong.
      } catch (const std::system_error&) {
      }
      work();
    }
    if (failure_) return std::unexpected(*failure_);
    return bytes_read_.load();
  }

 private:
  ByteRange range_of(const Unit& unit) const {
    const manifest::Entry& entry = *files_[unit.file].entry;
    const std::uint64_t begin = entry.chunk_range(ChunkIndex(unit.first)).offset;
    const std::uint64_t end = entry.chunk_range(ChunkIndex(unit.first + unit.count - 1)).end();
    return {begin, end - begin};
  }

  void work() {
    Bytes buffer(limits::chunk_size);
    while (!stopping_) {
      const std::size_t index = next_unit_.fetch_add(1);
      if (index >= units_.size()) return;
      const Unit& unit = units_[index];
      if (const Status hashed = hash(unit, buffer); !hashed) {
        stopping_ = true;
        const std::lock_guard lock(failure_mutex_);
        failure_ = hashed.error().with_context("hash " + quote(files_[unit.file].entry->path));
      }
    }
  }

  Status hash(const Unit& unit, Bytes& buffer) {
    FileChunks& file = files_[unit.file];
    ICBD_ASSIGN(const unique_fd fd,
                open_at(root_fd_, file.entry->path, O_RDONLY | O_NOFOLLOW | O_NOATIME));
    if (progress_.cancelled && *progress_.cancelled)
      return fail(ErrorCode::cancelled, "it is not wanted any more");
    const ByteRange unit_range = range_of(unit);
    // Advice: reading works without it.
    posix_fadvise(fd.get(), static_cast<off_t>(unit_range.offset),
                  static_cast<off_t>(unit_range.length), POSIX_FADV_SEQUENTIAL);
    std::uint64_t hole_end = unit_range.offset;  // no data between here and what was read last
    for (std::uint32_t chunk = unit.first; chunk < unit.first + unit.count; ++chunk) {
      const ByteRange range = file.entry->chunk_range(ChunkIndex(chunk));
      if (range.end() > hole_end) {
        ICBD_ASSIGN(const auto data, next_data(fd.get(), range.offset));
        hole_end = data.value_or(file.entry->size);
      }
      if (range.end() <= hole_end) {
        file.digests[chunk] = sha256_of_zeros(range.length);
      } else {
        const std::span<std::byte> bytes = std::span(buffer).first(range.length);
        ICBD_TRY(read_exactly_at(fd.get(), bytes, range.offset));
        file.digests[chunk] = sha256(bytes);
        bytes_read_ += range.length;
      }
      progress_.bytes_done += range.length;
    }
    return {};
  }

  int root_fd_;
  std::span<FileChunks> files_;
  HashProgress progress_;
  std::vector<Unit> units_;
  std::atomic<std::size_t> next_unit_ = 0;
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::atomic<bool> stopping_ = false;
  std::mutex failure_mutex_;
  std::optional<Error> failure_;  // by failure_mutex_ until the threads have ended
};

}  // namespace

Result<std::uint64_t> hash_unknown_chunks(int root_fd, std::span<FileChunks> files,
                                          HashProgress progress) {
  return Hasher(root_fd, files, progress).run();
}

}  // namespace icbd::repository
