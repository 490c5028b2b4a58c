#include "icbd/library/image_table.h"

#include <sys/stat.h>

#include <algorithm>

#include "icbd/catalog/find_version.h"
#include "icbd/catalog/names.h"

namespace icbd::library {
namespace {

// Of ids that the catalog has not given: it gives smaller ones.
constexpr std::uint32_t first_own_id = std::uint32_t{1} << 31;

}  // namespace

fs::VersionEntry describe(const catalog::Version& version) {
  const catalog::RootAttributes& root = version.facts.root;
  fs::VersionEntry entry{.serial = version.serial,
                         .number = version.facts.number,
                         .state = std::string(catalog::to_string(version.state)),
                         .image = version.facts.image,
                         .generation = version.generation,
                         .root = {}};
  entry.root.st_ino = fs::subvolume_root.value();
  entry.root.st_mode = S_IFDIR | root.mode;
  entry.root.st_nlink = 1;  // as BTRFS counts directories
  entry.root.st_uid = root.uid;
  entry.root.st_gid = root.gid;
  entry.root.st_mtim = {root.modified.seconds, root.modified.nanoseconds};
  entry.root.st_atim = entry.root.st_ctim = entry.root.st_mtim;
  return entry;
}

std::vector<fs::LinkEntry> ImageTable::links_of(const std::string& image,
                                                std::span<const catalog::Version> versions,
                                                std::span<const catalog::Tag> tags) {
  std::vector<fs::LinkEntry> links;
  const auto add = [&](std::string_view name) {
    const auto target = catalog::find_version(versions, tags, image, name);
    if (target)
      links.push_back({.id = 0, .name = std::string(name), .target = (*target)->facts.number});
  };
  add(catalog::latest_word);
  add(catalog::current_word);
  for (const catalog::Tag& tag : tags)
    if (tag.image == image && tag.name != catalog::current_word) add(tag.name);
  return links;
}

// With mutex_ held.
void ImageTable::learn(std::span<const std::string> names) {
  std::vector<std::string> unknown;
  for (const std::string& name : names)
    if (!ids_.contains(name)) unknown.push_back(name);
  if (unknown.empty()) return;
  const auto given =
      catalog_ == nullptr ? Result<std::vector<std::uint32_t>>() : catalog_->view_name_ids(unknown);
  const bool durable = given && given->size() == unknown.size();
  for (std::size_t i = 0; i < unknown.size(); ++i)
    ids_.emplace(unknown[i],
                 durable ? (*given)[i] : first_own_id + static_cast<std::uint32_t>(ids_.size()));
}

fs::Library::Images ImageTable::make(std::span<const std::string> images,
                                     std::span<const catalog::Version> versions,
                                     std::span<const catalog::Tag> tags) {
  fs::Library::Images made;
  std::vector<std::string> names(images.begin(), images.end());
  for (const std::string& name : images) {
    fs::ImageEntry image{.id = 0, .name = name, .modified = {}, .versions = {}, .links = {}};
    const auto own = std::ranges::equal_range(
        versions, name, {},
        [](const catalog::Version& version) -> const std::string& { return version.facts.image; });
    for (const catalog::Version& version : own) {
      image.versions.push_back(describe(version));
      image.modified = std::max(image.modified, version.facts.published);
    }
    image.links = links_of(name, {own.begin(), own.end()}, tags);
    for (const fs::LinkEntry& link : image.links) names.push_back(name + "/" + link.name);
    made.push_back(std::move(image));
  }
  const std::lock_guard lock(mutex_);
  learn(names);
  for (fs::ImageEntry& image : made) {
    image.id = ids_.at(image.name);
    for (fs::LinkEntry& link : image.links) link.id = ids_.at(image.name + "/" + link.name);
  }
  return made;
}

}  // namespace icbd::library
