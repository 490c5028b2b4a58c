#include "icbd/btrfs/file_extents.h"

#include <endian.h>
#include <linux/btrfs_tree.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/encoded_read.h"

#include "tree_search.h"

namespace icbd::btrfs {
namespace {

// An extent that begins this far before the window may still reach into it. What is written at once
// has at most 128 MiB (BTRFS_MAX_EXTENT_SIZE, fs/btrfs/fs.h), but what fallocate(2) reserved and
// somebody has written since has 256 MiB (__btrfs_prealloc_file_range, fs/btrfs/inode.c).
constexpr std::uint64_t longest_extent = std::uint64_t{256} * 1024 * 1024;
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

// Calls `visit(offset, item)` for each item of the inode that may reach into `window`, in order;
// those that are longer than `longest` and begin before it may be missed.
template <typename Visit>
Status for_each_item(int fd, InodeNumber inode, ByteRange window, std::uint64_t longest,
                     const Visit& visit) {
  TreeSearch search(buffer_size);
  std::uint64_t from = window.offset - std::min(window.offset, longest);
  while (from < window.end()) {
    const TreeSearch::Range range{.first = {inode.value(), BTRFS_EXTENT_DATA_KEY, from},
                                  .last = {inode.value(), BTRFS_EXTENT_DATA_KEY, window.end() - 1}};
    ICBD_ASSIGN(const std::uint32_t found, search.run(fd, range, [&](const TreeItem& item) {
      visit(item.offset, item.data);
      from = item.offset + 1;
    }));
    if (found == 0) break;
  }
  return {};
}

}  // namespace

Result<std::vector<FileExtent>> file_extents(int fd, InodeNumber inode, ByteRange window) {
  Layout layout(window);
  ICBD_TRY(for_each_item(fd, inode, window, longest_extent,
                         [&](std::uint64_t offset, std::span<const std::byte> item) {
                           layout.add(decode(offset, item));
                         }));
  return layout.take();
}

Result<std::vector<CompressedExtent>> compressed_extents(int fd, InodeNumber inode,
                                                         ByteRange window) {
  std::vector<CompressedExtent> found;
  ICBD_TRY(for_each_item(
      fd, inode, window, limits::extent_length,
      [&](std::uint64_t offset, std::span<const std::byte> item) {
        btrfs_file_extent_item raw{};
        std::memcpy(&raw, item.data(), std::min(item.size(), sizeof raw));
        if (raw.type != BTRFS_FILE_EXTENT_REG || raw.compression == 0 || raw.disk_bytenr == 0)
          return;
        const CompressedExtent extent{.range = {offset, le64toh(raw.num_bytes)},
                                      .packed_length = le64toh(raw.disk_num_bytes)};
        if (!intersect(extent.range, window).empty()) found.push_back(extent);
      }));
  return found;
}

}  // namespace icbd::btrfs
