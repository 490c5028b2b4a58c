#include "content_copy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/base/types.h"
#include "icbd/btrfs/file_extents.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::repository {
namespace {

using btrfs::FileExtent;

// Of extents that are looked at together: thousands of pieces at most, even in fragmented files.
constexpr std::uint64_t window = std::uint64_t{256} << 20;

Status check_cancelled(const CopyOptions& options) {
  if (options.cancelled && *options.cancelled)
    return fail(ErrorCode::cancelled, "it is not wanted any more");
  return {};
}

Result<InodeNumber> inode_of(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return fail_errno("fstat");
  return InodeNumber(status.st_ino);
}

// Whole blocks, so that no extent is left of which only zeros are seen; the size stays.
Status punch(int fd, ByteRange range) {
  constexpr std::uint64_t block = 4096;
  const std::uint64_t length = (range.length + block - 1) / block * block;
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                static_cast<off_t>(length)) != 0)
    return fail_errno(fmt::format("make a hole at {}", range.offset));
  return {};
}

bool are_zeros(ByteView bytes) {
  // Compared with itself, one byte on: memcmp() is the fastest loop there is.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Where a file has data, asked for no more often than needed.
class DataMap {
 public:
  DataMap(int fd, std::uint64_t size) : fd_(fd), size_(size) {}

  // Offsets grow from call to call. The end of the hole that begins at or before `offset`; `offset`
  // itself if there is data.
  Result<std::uint64_t> hole_end(std::uint64_t offset) {
    if (offset < next_data_) return next_data_;
    const off_t data = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno != ENXIO) return fail_errno(fmt::format("look for data at {}", offset));
    next_data_ = data < 0 ? size_ : std::min(size_, static_cast<std::uint64_t>(data));
    return next_data_;
  }

 private:
  int fd_;
  std::uint64_t size_;
  std::uint64_t next_data_ = 0;
};

class BlockCopy {
 public:
  BlockCopy(int source_fd, int destination_fd, std::uint64_t size, const CopyOptions& options)
      : source_fd_(source_fd),
        destination_fd_(destination_fd),
        size_(size),
        options_(options),
        source_map_(source_fd, size),
        destination_map_(destination_fd, size),
        source_(limits::chunk_size),
        destination_(limits::chunk_size) {}

  Result<CopyCounts> run() {
    posix_fadvise(source_fd_, 0, 0, POSIX_FADV_SEQUENTIAL);  // advice: it works without
    for (std::uint64_t offset = 0; offset < size_;) {
      ICBD_TRY(check_cancelled(options_));
      const ByteRange block{offset, std::min<std::uint64_t>(limits::chunk_size, size_ - offset)};
      ICBD_ASSIGN(const std::uint64_t source_hole, source_map_.hole_end(offset));
      ICBD_ASSIGN(const std::uint64_t destination_hole, destination_map_.hole_end(offset));
      std::uint64_t end = block.end();
      if (const std::uint64_t both = std::min(source_hole, destination_hole); both >= end)
        end = both == size_ ? size_ : both / limits::chunk_size * limits::chunk_size;
      else if (source_hole >= end)
        ICBD_TRY(punch(destination_fd_, block));
      else
        ICBD_TRY(copy(block, destination_hole >= end));
      if (options_.bytes_done) *options_.bytes_done += end - offset;
      offset = end;
    }
    return counts_;
  }

 private:
  Status copy(ByteRange block, bool into_hole) {
    const std::span<std::byte> bytes = std::span(source_).first(block.length);
    ICBD_ASSIGN(const std::size_t got, read_at(source_fd_, bytes, block.offset));
    counts_.read += got;
    if (got < block.length) return fail(ErrorCode::busy, "it became shorter while it was read");
    const bool zeros = are_zeros(bytes);
    if (zeros) return into_hole ? Status() : punch(destination_fd_, block);
    if (!into_hole) {
      const std::span<std::byte> old = std::span(destination_).first(block.length);
      ICBD_ASSIGN(const std::size_t had, read_at(destination_fd_, old, block.offset));
      if (had == block.length && std::memcmp(bytes.data(), old.data(), had) == 0) return {};
    }
    counts_.written += block.length;
    return write_at(destination_fd_, bytes, block.offset);
  }

  int source_fd_, destination_fd_;
  std::uint64_t size_;
  CopyOptions options_;
  DataMap source_map_, destination_map_;
  Bytes source_, destination_;
  CopyCounts counts_;
};

bool same_bytes(const FileExtent& a, const FileExtent& b, std::uint64_t offset) {
  if (a.kind != b.kind) return false;
  if (a.kind == FileExtent::Kind::zeros) return true;
  return a.kind == FileExtent::Kind::shared && a.disk == b.disk &&
         a.disk_offset + (offset - a.range.offset) == b.disk_offset + (offset - b.range.offset);
}

// What stands in the source where the extents differ.
using Difference = std::function<Status(ByteRange range, FileExtent::Kind kind)>;

// Both cover the same range, in order and without gaps.
Status compare(const std::vector<FileExtent>& source, const std::vector<FileExtent>& destination,
               const Difference& differs) {
  auto there = destination.begin();
  for (const FileExtent& extent : source) {
    for (std::uint64_t offset = extent.range.offset; offset < extent.range.end();) {
      while (there != destination.end() && there->range.end() <= offset) ++there;
      if (there == destination.end())
        return differs({offset, extent.range.end() - offset}, extent.kind);
      const std::uint64_t end = std::min(extent.range.end(), there->range.end());
      if (!same_bytes(extent, *there, offset))
        ICBD_TRY(differs({offset, end - offset}, extent.kind));
      offset = end;
    }
  }
  return {};
}

// Joins what continues, so that a thousand pieces are reflinked in one call.
class Joined {
 public:
  explicit Joined(Difference take) : take_(std::move(take)) {}
  Status add(ByteRange range, FileExtent::Kind kind) {
    if (kind == kind_ && range.offset == range_.end()) {
      range_.length += range.length;
      return {};
    }
    ICBD_TRY(flush());
    range_ = range;
    kind_ = kind;
    return {};
  }
  Status flush() {
    const ByteRange range = std::exchange(range_, {});
    return range.empty() ? Status() : take_(range, kind_);
  }

 private:
  Difference take_;
  ByteRange range_;
  FileExtent::Kind kind_ = FileExtent::Kind::zeros;
};

Status for_each_difference(int source_fd, int destination_fd, std::uint64_t size,
                           const Difference& take,
                           const std::function<Status(std::uint64_t)>& window_done) {
  // What is only in the page cache has no extents yet.
  if (fdatasync(source_fd) != 0) return fail_errno("fdatasync");
  ICBD_ASSIGN(const InodeNumber source, inode_of(source_fd));
  ICBD_ASSIGN(const InodeNumber destination, inode_of(destination_fd));
  for (std::uint64_t offset = 0; offset < size; offset += window) {
    const ByteRange range{offset, std::min(window, size - offset)};
    ICBD_ASSIGN(const auto here, btrfs::file_extents(source_fd, source, range));
    ICBD_ASSIGN(const auto there, btrfs::file_extents(destination_fd, destination, range));
    Joined joined(take);
    ICBD_TRY(compare(here, there, [&](ByteRange part, FileExtent::Kind kind) {
      return joined.add(part, kind);
    }));
    ICBD_TRY(joined.flush());
    ICBD_TRY(window_done(range.length));
  }
  return {};
}

// `unsupported` if the kernel refuses to share: some may be shared then, which does no harm.
Result<CopyCounts> share_content(int source_fd, int destination_fd, std::uint64_t size,
                                 const CopyOptions& options) {
  CopyCounts counts;
  const auto take = [&](ByteRange range, FileExtent::Kind kind) -> Status {
    if (kind == FileExtent::Kind::zeros) return punch(destination_fd, range);
    if (kind == FileExtent::Kind::shared) {
      counts.shared += range.length;
      return btrfs::clone_range(source_fd, range.offset, destination_fd, range.offset,
                                range.length);
    }
    Bytes bytes(range.length);  // in the metadata: less than a page
    ICBD_ASSIGN(const std::size_t got, read_at(source_fd, bytes, range.offset));
    counts.read += got;
    Bytes there(range.length);
    ICBD_ASSIGN(const std::size_t had, read_at(destination_fd, there, range.offset));
    if (had == got && bytes == there) return {};
    counts.written += got;
    return write_at(destination_fd, std::span(bytes).first(got), range.offset);
  };
  ICBD_TRY(for_each_difference(source_fd, destination_fd, size, take,
                               [&](std::uint64_t length) -> Status {
                                 if (options.bytes_done) *options.bytes_done += length;
                                 return check_cancelled(options);
                               }));
  return counts;
}

}  // namespace

Result<CopyCounts> copy_content(int source_fd, int destination_fd, std::uint64_t size,
                                const CopyOptions& options) {
  if (ftruncate(destination_fd, static_cast<off_t>(size)) != 0) return fail_errno("ftruncate");
  if (options.share) {
    const std::uint64_t done = options.bytes_done ? options.bytes_done->load() : 0;
    auto counts = share_content(source_fd, destination_fd, size, options);
    if (counts || counts.error().code() != ErrorCode::unsupported) return counts;
    if (options.bytes_done) *options.bytes_done = done;
  }
  return BlockCopy(source_fd, destination_fd, size, options).run();
}

Result<std::uint64_t> differing_bytes(int source_fd, int destination_fd, std::uint64_t size) {
  std::uint64_t bytes = 0;
  ICBD_TRY(for_each_difference(
      source_fd, destination_fd, size,
      [&](ByteRange range, FileExtent::Kind kind) -> Status {
        if (kind != FileExtent::Kind::zeros) bytes += range.length;
        return {};
      },
      [](std::uint64_t) { return Status(); }));
  return bytes;
}

Result<std::uint64_t> bytes_with_data(int fd, std::uint64_t size) {
  std::uint64_t bytes = 0;
  for (std::uint64_t offset = 0; offset < size;) {
    const off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return fail_errno("look for data");
    const off_t end = lseek(fd, data, SEEK_HOLE);
    if (end < 0) return fail_errno("look for a hole");
    bytes += std::min(size, static_cast<std::uint64_t>(end)) -
             std::min(size, static_cast<std::uint64_t>(data));
    offset = static_cast<std::uint64_t>(end);
  }
  return bytes;
}

}  // namespace icbd::repository
