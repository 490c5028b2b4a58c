#include "icbd/btrfs/file_extents.h"

#include <endian.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "icbd/base/bytes.h"

#include "describe.h"

namespace icbd::btrfs {
namespace {

// An extent that begins this far before the window may still reach into it
// (BTRFS_MAX_EXTENT_SIZE, fs/btrfs/fs.h).
constexpr std::uint64_t longest_extent = std::uint64_t{128} * 1024 * 1024;
constexpr std::size_t buffer_size = 64 * 1024;

class Layout {
 public:
  explicit Layout(ByteRange window) : window_(window), covered_(window.offset) {}

  // In the order of their offsets.
  void add(FileExtent extent) {
    const ByteRange part = intersect(extent.range, window_);
    if (part.empty() || part.offset < covered_) return;
    fill_hole(part.offset);
    extent.disk_offset += part.offset - extent.range.offset;
    extent.range = part;
    append(extent);
  }

  std::vector<FileExtent> take() {
    fill_hole(window_.end());
    return std::move(extents_);
  }

 private:
  void fill_hole(std::uint64_t end) {
    if (covered_ < end) append({.range = {covered_, end - covered_}});
  }

  void append(FileExtent extent) {
    covered_ = extent.range.end();
    if (extent.kind == FileExtent::Kind::zeros) extent.disk = extent.disk_offset = 0;
    if (!extents_.empty() && continues(extents_.back(), extent))
      extents_.back().range.length += extent.range.length;
    else
      extents_.push_back(extent);
  }

  static bool continues(const FileExtent& before, const FileExtent& after) {
    if (before.kind != after.kind) return false;
    if (before.kind == FileExtent::Kind::zeros) return true;
    return before.kind == FileExtent::Kind::shared && before.disk == after.disk &&
           before.disk_offset + before.range.length == after.disk_offset;
  }

  ByteRange window_;
  std::uint64_t covered_;
  std::vector<FileExtent> extents_;
};

FileExtent decode(std::uint64_t offset, std::span<const std::byte> item) {
  btrfs_file_extent_item raw{};
  std::memcpy(&raw, item.data(), std::min(item.size(), sizeof raw));
  if (raw.type == BTRFS_FILE_EXTENT_INLINE)
    return {.range = {offset, le64toh(raw.ram_bytes)}, .kind = FileExtent::Kind::inlined};
  FileExtent extent{.range = {offset, le64toh(raw.num_bytes)}};
  extent.disk = le64toh(raw.disk_bytenr);
  extent.disk_offset = le64toh(raw.offset);
  const bool written = raw.type == BTRFS_FILE_EXTENT_REG && extent.disk != 0;
  extent.kind = written ? FileExtent::Kind::shared : FileExtent::Kind::zeros;
  return extent;
}

// The arguments of one search and the kernel's answer behind them. btrfs_ioctl_search_args_v2 ends
// in a flexible array, which C++ does not have.
class Search {
 public:
  // Items of the inode that begin in [from, end).
  Status run(int fd, InodeNumber inode, std::uint64_t from, std::uint64_t end) {
    btrfs_ioctl_search_args_v2 arguments{};
    btrfs_ioctl_search_key& key = arguments.key;
    key.tree_id = 0;  // the subvolume of `fd`
    key.min_objectid = key.max_objectid = inode.value();
    key.min_type = key.max_type = BTRFS_EXTENT_DATA_KEY;
    key.min_offset = from;
    key.max_offset = end - 1;
    key.max_transid = std::numeric_limits<std::uint64_t>::max();
    key.nr_items = std::numeric_limits<std::uint32_t>::max();
    arguments.buf_size = buffer_size;
    std::memcpy(buffer_.data(), &arguments, sizeof arguments);
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, buffer_.data()) < 0)
      return fail_errno(
          fmt::format("list the extents of inode {} of {}", inode.value(), describe(fd)));
    std::memcpy(&arguments, buffer_.data(), sizeof arguments);
    found_ = arguments.key.nr_items;
    return {};
  }

  std::uint32_t found() const { return found_; }
  std::span<const std::byte> items() const {
    return std::as_bytes(std::span(buffer_)).subspan(sizeof(btrfs_ioctl_search_args_v2));
  }

 private:
  std::vector<std::uint64_t> buffer_ = std::vector<std::uint64_t>(
      (sizeof(btrfs_ioctl_search_args_v2) + buffer_size) / sizeof(std::uint64_t));
  std::uint32_t found_ = 0;
};

}  // namespace

Result<std::vector<FileExtent>> file_extents(int fd, InodeNumber inode, ByteRange window) {
  Layout layout(window);
  Search search;
  std::uint64_t from = window.offset - std::min(window.offset, longest_extent);
  while (from < window.end()) {
    ICBD_TRY(search.run(fd, inode, from, window.end()));
    if (search.found() == 0) break;
    std::span<const std::byte> rest = search.items();
    for (std::uint32_t i = 0; i < search.found(); ++i) {
      btrfs_ioctl_search_header header{};
      std::memcpy(&header, rest.data(), sizeof header);
      layout.add(decode(header.offset, rest.subspan(sizeof header, header.len)));
      rest = rest.subspan(sizeof header + header.len);
      from = header.offset + 1;
    }
  }
  return layout.take();
}

}  // namespace icbd::btrfs
