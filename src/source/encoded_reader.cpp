#include "encoded_reader.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "icbd/base/limits.h"
#include "icbd/btrfs/encoded_read.h"

namespace icbd::source {
namespace {

using Received = std::function<Status(const EncodedExtent&)>;

// Neighbours of one file, from the first on.
std::span<const Extent> neighbours(std::span<const Extent> extents) {
  std::size_t count = 1;
  while (count < extents.size() && extents[count].file == extents.front().file &&
         extents[count].range.offset == extents[count - 1].range.end())
    ++count;
  return extents.first(count);
}

Result<std::vector<btrfs::CompressedExtent>> compressed_in(int fd, ByteRange range) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno("stat a file of a version");
  return btrfs::compressed_extents(fd, InodeNumber(status.st_ino), range);
}

// The parts of `extents` that lie in `range`.
void append_parts(std::span<const Extent> extents, ByteRange range, std::vector<Extent>& parts) {
  for (const Extent& extent : extents)
    if (const ByteRange part = intersect(extent.range, range); !part.empty())
      parts.push_back({extent.file, part});
}

// One stretch of a file.
class Stretch {
 public:
  Stretch(int fd, std::span<const Extent> extents, StretchBuffers& buffers)
      : fd_(fd), extents_(extents), buffers_(buffers) {
    const std::uint64_t begin = extents.front().range.offset;
    range_ = {begin, extents.back().range.end() - begin};
  }

  Status read(std::uint64_t file_size, const Received& received, std::vector<Extent>& plain) {
    auto compressed = compressed_in(fd_, range_);
    // Another filesystem, or no right to ask: all of it is read plainly.
    if (!compressed) compressed.emplace();
    std::uint64_t at = range_.offset;
    for (const btrfs::CompressedExtent& extent : *compressed) {
      const ByteRange held = intersect(extent.range, {0, file_size});
      if (held.offset < at || held.end() > range_.end() || extent.packed_length > held.length)
        continue;
      ICBD_ASSIGN(const auto encoded, read_one(held));
      if (!encoded) continue;
      append_parts(extents_, {at, held.offset - at}, plain);
      at = held.end();
      ICBD_TRY(received(*encoded));
    }
    append_parts(extents_, {at, range_.end() - at}, plain);
    return {};
  }

 private:
  // None if it cannot be had so.
  Result<std::optional<EncodedExtent>> read_one(ByteRange held) {
    BufferPool::Buffer buffer = buffers_.take(limits::extent_length);
    const auto read =
        btrfs::encoded_read(fd_, held.offset, buffer.bytes.first(limits::extent_length));
    if (!read && read.error().code() == ErrorCode::unsupported) return std::nullopt;
    if (!read) return std::unexpected(read.error());
    // The list of extents is a moment older.
    if (read->compression == 0 || read->file_length != held.length ||
        read->unencoded_length > limits::extent_length || read->length > limits::extent_length)
      return std::nullopt;
    return EncodedExtent{.file = extents_.front().file,
                         .range = held,
                         .unencoded_offset = static_cast<std::uint32_t>(read->unencoded_offset),
                         .unencoded_length = static_cast<std::uint32_t>(read->unencoded_length),
                         .compression = read->compression,
                         .owner = std::move(buffer.owner),
                         .data = buffer.bytes.first(read->length)};
  }

  int fd_;
  std::span<const Extent> extents_;
  ByteRange range_;
  StretchBuffers& buffers_;
};

}  // namespace

Result<std::vector<Extent>> read_encoded(std::span<const ServedFile> files, OpenFiles& open_files,
                                         std::span<const Extent> extents, StretchBuffers& buffers,
                                         const Received& received) {
  std::vector<Extent> plain;
  while (!extents.empty()) {
    const auto run = neighbours(extents);
    extents = extents.subspan(run.size());
    const ServedFile& file = files[run.front().file.value()];
    // What is left is read past the page cache.
    ICBD_ASSIGN(const OpenFile opened,
                open_files.open(run.front().file, file.path, file.size >= direct_file_min));
    const Status read =
        Stretch(opened.cached->get(), run, buffers).read(file.size, received, plain);
    if (!read) return std::unexpected(read.error().with_context(fmt::format("\"{}\"", file.path)));
  }
  return plain;
}

Result<std::uint64_t> encoded_border(const ServedFile& file, OpenFiles& open_files, FileIndex index,
                                     std::uint64_t offset) {
  ICBD_ASSIGN(const OpenFile opened,
              open_files.open(index, file.path, file.size >= direct_file_min));
  const auto compressed = compressed_in(opened.cached->get(), {offset, 1});
  if (!compressed || compressed->empty()) return offset;
  return std::min(offset, compressed->front().range.offset);
}

}  // namespace icbd::source
