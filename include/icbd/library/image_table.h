// Images, versions and links as the view shows them, made from what the catalog says.
//
// Guarantees: an id is given to each name when it is first seen, and never to another name; with a
// catalog, whatever process asks. If the catalog cannot be written, ids hold for this process.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "icbd/catalog/catalog.h"
#include "icbd/fs/library.h"

namespace icbd::library {

fs::VersionEntry describe(const catalog::Version& version);

class ImageTable {
 public:
  ImageTable() = default;
  explicit ImageTable(catalog::Catalog& catalog) : catalog_(&catalog) {}

  // `images` by name; `versions` by image, then number; `tags` by image, then name. What a tag
  // names must be among the versions to be shown.
  fs::Library::Images make(std::span<const std::string> images,
                           std::span<const catalog::Version> versions,
                           std::span<const catalog::Tag> tags);

 private:
  using Ids = std::map<std::string, std::uint32_t, std::less<>>;
  void learn(std::span<const std::string> names);
  std::vector<fs::LinkEntry> links_of(const std::string& image,
                                      std::span<const catalog::Version> versions,
                                      std::span<const catalog::Tag> tags);

  catalog::Catalog* catalog_ = nullptr;
  std::mutex mutex_;  // guards what is below
  Ids ids_;           // by "IMAGE" and "IMAGE/LINK"
};

}  // namespace icbd::library
