// Which inodes of a subvolume have changed since a transaction.
//
// Purpose: what was not touched since a snapshot was made is the original's, metadata and bytes,
// without a look at either; so that work over a version follows its changes and not its size.
// Source: the INODE_ITEM of each inode says in which transaction it was last updated (transid; set
// by fill_inode_item() in fs/btrfs/inode.c, for every change of data, names, attributes and
// xattrs). Only leaves that were written since are visited (min_transid, as `btrfs subvolume
// find-new` does), so that the cost follows the change too.
// The items are those of the running transaction; what the kernel holds back in memory (delayed
// inodes, bytes in the page cache) is not in them: sync_filesystem() before.
// Privileges: CAP_SYS_ADMIN. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::btrfs {

// Of the subvolume of `fd`, in order; inodes that are new are among them, those that are gone not.
Result<std::vector<InodeNumber>> inodes_changed_after(int fd, std::uint64_t transaction);

}  // namespace icbd::btrfs
