// Manifest entries for tests that care for sizes only.
#pragma once

#include <string>

#include "icbd/manifest/manifest.h"

namespace icbd::replicator {

inline manifest::Entry directory_entry(std::string path) {
  manifest::Entry entry;
  entry.path = std::move(path);
  entry.type = manifest::EntryType::directory;
  return entry;
}

inline manifest::Entry file_entry(std::string path, std::uint64_t size) {
  manifest::Entry entry;
  entry.path = std::move(path);
  entry.size = size;
  return entry;
}

}  // namespace icbd::replicator
