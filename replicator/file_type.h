// The file type bits of st_mode that a manifest entry stands for.
#pragma once

#include <sys/stat.h>

#include "icbd/manifest/manifest.h"

namespace icbd::replicator {

// 0 for a hard link: its first name has the type.
constexpr mode_t file_type(manifest::EntryType type) {
  switch (type) {
    case manifest::EntryType::file:
      return S_IFREG;
    case manifest::EntryType::directory:
      return S_IFDIR;
    case manifest::EntryType::symlink:
      return S_IFLNK;
    case manifest::EntryType::character_device:
      return S_IFCHR;
    case manifest::EntryType::block_device:
      return S_IFBLK;
    case manifest::EntryType::fifo:
      return S_IFIFO;
    case manifest::EntryType::socket:
      return S_IFSOCK;
    case manifest::EntryType::hard_link:
      return 0;
  }
  return 0;
}

}  // namespace icbd::replicator
