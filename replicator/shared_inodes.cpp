#include "shared_inodes.h"

#include <algorithm>
#include <tuple>

#include "icbd/btrfs/changed_inodes.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::replicator {

using manifest::Entry;

Result<SharedInodes> SharedInodes::look(const Staging& staging,
                                        std::shared_ptr<const LocalVersion> parent) {
  SharedInodes shared;
  if (!parent) return shared;
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(staging.root_fd()));
  ICBD_ASSIGN(const auto parent_info, btrfs::subvolume_info(parent->subvolume.root_fd()));
  // A snapshot of something else shares nothing that is known.
  if (info.parent_uuid != parent_info.uuid) return shared;
  // A parent that somebody has changed after its landing is not taken for what it was.
  const std::uint64_t settled =
      parent_info.receipt != 0 ? std::min(parent_info.receipt, info.creation) : info.creation;
  ICBD_ASSIGN(shared.changed_, btrfs::inodes_changed_after(staging.root_fd(), settled));
  ICBD_ASSIGN(const std::span<const InodeNumber> inodes, parent->inodes->of(*parent));
  shared.inodes_.reserve(inodes.size());
  for (std::uint32_t i = 0; i < inodes.size(); ++i)
    if (parent->entries[i].type != manifest::EntryType::hard_link)
      shared.inodes_.emplace_back(inodes[i], FileIndex(i));
  std::ranges::sort(shared.inodes_);
  shared.parent_ = std::move(parent);
  return shared;
}

const Entry* SharedInodes::find(InodeNumber inode) const {
  if (!parent_ || std::ranges::binary_search(changed_, inode)) return nullptr;
  const auto found =
      std::ranges::lower_bound(inodes_, inode, {}, &decltype(inodes_)::value_type::first);
  if (found == inodes_.end() || found->first != inode) return nullptr;
  return &parent_->entries[found->second.value()];
}

bool same_metadata(const Entry& a, const Entry& b) {
  const auto of = [](const Entry& entry) {
    return std::tie(entry.type, entry.mode, entry.uid, entry.gid, entry.modified,
                    entry.device_major, entry.device_minor, entry.attributes, entry.target,
                    entry.xattrs, entry.size);
  };
  return of(a) == of(b);
}

bool same_content(const Entry& a, const Entry& b) {
  return a.type == b.type && a.size == b.size && a.digests == b.digests;
}

}  // namespace icbd::replicator
