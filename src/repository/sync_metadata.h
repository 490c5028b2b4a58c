// Metadata of one inode made that of another.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/error.h"

namespace icbd::repository {

// Owner, extended attributes, mode and mtime of the destination become the source's, in an order in
// which none undoes another (chown clears capabilities and setuid). Nothing is set that is right
// already. Both descriptors are O_PATH. Attributes that BTRFS cannot hold are left out with a
// warning.
Status sync_metadata(int source_fd, const struct statx& source, int destination_fd,
                     std::string_view path, std::vector<std::string>& warnings);

// Sets the immutable, append-only and no-dump attributes (manifest::Attribute) of a file or
// directory below the root.
Status set_attributes(int root_fd, std::string_view path, std::uint32_t attributes);

// Removes what is there, directories with all that is in them, immutable or not.
Status remove_beneath(int root_fd, const std::string& path);

}  // namespace icbd::repository
