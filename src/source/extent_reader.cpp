#include "extent_reader.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

namespace icbd::source {
namespace {

// Bytes of one read: enough for the disk, small enough to be held a few times over.
constexpr std::uint64_t run_length_max = 1024 * 1024;

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
        length + next.range.length > run_length_max)
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

// The bytes of a stretch; none if it is a hole.
Result<std::optional<Bytes>> read_stretch(int fd, ByteRange range) {
  ICBD_ASSIGN(const bool hole, is_hole(fd, range));
  if (hole) return std::nullopt;
  Bytes bytes(range.length);
  ICBD_TRY(read_exactly_at(fd, bytes, range.offset));
  return bytes;
}

// `run` is one stretch of the file.
Status read_run(const ServedFile& file, int fd, std::span<const Extent> run,
                const std::function<Status(const ExtentData&)>& received) {
  const std::uint64_t begin = run.front().range.offset;
  const ByteRange whole{begin, run.back().range.end() - begin};
  auto stretch = read_stretch(fd, whole);
  if (!stretch)
    return std::unexpected(stretch.error().with_context(fmt::format("\"{}\"", file.path)));
  const bool hole = !stretch->has_value();
  const auto buffer = std::make_shared<const Bytes>(std::move(*stretch).value_or(Bytes{}));
  for (const Extent& extent : run) {
    ExtentData data{.extent = extent, .owner = nullptr, .data = {}, .all_zero = true};
    const ByteView bytes =
        hole ? ByteView()
             : ByteView(*buffer).subspan(extent.range.offset - begin, extent.range.length);
    if (!is_zero(bytes)) {
      data.all_zero = false;
      data.owner = buffer;
      data.data = bytes;
    }
    ICBD_TRY(received(data));
  }
  return {};
}

}  // namespace

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
                    std::span<const Extent> extents,
                    const std::function<Status(const ExtentData&)>& received) {
  while (!extents.empty()) {
    const std::size_t count = run_of(extents);
    const FileIndex index = extents.front().file;
    const ServedFile& file = files[index.value()];
    ICBD_ASSIGN(const auto fd, open_files.open(index, file.path));
    ICBD_TRY(read_run(file, fd->get(), extents.first(count), received));
    extents = extents.subspan(count);
  }
  return {};
}

}  // namespace icbd::source
