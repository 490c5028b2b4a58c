#include "tree_search.h"

#include <fmt/format.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include <cstring>

#include "describe.h"

namespace icbd::btrfs {
namespace {

// btrfs_ioctl_search_args_v2 ends in a flexible array, which C++ does not have: its arguments and
// the kernel's answer behind them lie in one buffer.
constexpr std::size_t arguments_size = sizeof(btrfs_ioctl_search_args_v2);

btrfs_ioctl_search_args_v2 arguments_of(const TreeSearch::Range& range, std::size_t answer_size) {
  btrfs_ioctl_search_args_v2 arguments{};
  btrfs_ioctl_search_key& key = arguments.key;
  key.tree_id = 0;  // the subvolume of the descriptor
  key.min_objectid = range.first.object;
  key.min_type = range.first.type;
  key.min_offset = range.first.offset;
  key.max_objectid = range.last.object;
  key.max_type = range.last.type;
  key.max_offset = range.last.offset;
  key.min_transid = range.min_transaction;
  key.max_transid = std::numeric_limits<std::uint64_t>::max();
  key.nr_items = std::numeric_limits<std::uint32_t>::max();
  arguments.buf_size = answer_size;
  return arguments;
}

}  // namespace

TreeSearch::TreeSearch(std::size_t buffer_size)
    : buffer_((arguments_size + buffer_size) / sizeof(std::uint64_t)) {}

Result<std::uint32_t> TreeSearch::run(int fd, const Range& range,
                                      const std::function<void(const TreeItem&)>& found) {
  const auto bytes = std::as_bytes(std::span(buffer_));
  btrfs_ioctl_search_args_v2 arguments = arguments_of(range, bytes.size() - arguments_size);
  std::memcpy(buffer_.data(), &arguments, sizeof arguments);
  if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, buffer_.data()) < 0)
    return fail_errno(fmt::format("search the tree of {}", describe(fd)));
  std::memcpy(&arguments, buffer_.data(), sizeof arguments);
  ByteView rest = bytes.subspan(arguments_size);
  for (std::uint32_t i = 0; i < arguments.key.nr_items; ++i) {
    btrfs_ioctl_search_header header{};
    std::memcpy(&header, rest.data(), sizeof header);
    found({.object = header.objectid,
           .type = header.type,
           .offset = header.offset,
           .data = rest.subspan(sizeof header, header.len)});
    rest = rest.subspan(sizeof header + header.len);
  }
  return arguments.key.nr_items;
}

}  // namespace icbd::btrfs
