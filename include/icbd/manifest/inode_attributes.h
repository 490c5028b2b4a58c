// The attributes of an inode that are part of the content, as statx(2) tells them: without opening
// the inode. Pure.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

// A set of Attribute.
inline std::uint32_t attributes_of(const struct statx& status) {
  std::uint32_t attributes = 0;
  if ((status.stx_attributes & STATX_ATTR_IMMUTABLE) != 0) attributes |= attribute_immutable;
  if ((status.stx_attributes & STATX_ATTR_APPEND) != 0) attributes |= attribute_append_only;
  if ((status.stx_attributes & STATX_ATTR_NODUMP) != 0) attributes |= attribute_no_dump;
  return attributes;
}

}  // namespace icbd::manifest
