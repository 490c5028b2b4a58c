#include "icbd/library/image_table.h"

#include <sys/stat.h>

#include <algorithm>

#include "icbd/catalog/find_version.h"
#include "icbd/catalog/names.h"

namespace icbd::library {

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

// Called with mutex_ held. Ids are given in the order in which names are first seen.
std::uint32_t ImageTable::id_of(Ids& ids, const std::string& name) {
  return ids.try_emplace(name, static_cast<std::uint32_t>(ids.size() + 1)).first->second;
}

std::vector<fs::LinkEntry> ImageTable::links_of(const fs::ImageEntry& image,
                                                std::span<const catalog::Version> versions,
                                                std::span<const catalog::Tag> tags) {
  std::vector<fs::LinkEntry> links;
  const auto add = [&](std::string_view name) {
    const auto target = catalog::find_version(versions, tags, image.name, name);
    if (target)
      links.push_back({.id = id_of(links_, image.name + "/" + std::string(name)),
                       .name = std::string(name),
                       .target = (*target)->facts.number});
  };
  add(catalog::latest_word);
  add(catalog::current_word);
  for (const catalog::Tag& tag : tags)
    if (tag.image == image.name && tag.name != catalog::current_word) add(tag.name);
  return links;
}

fs::Library::Images ImageTable::make(std::span<const std::string> images,
                                     std::span<const catalog::Version> versions,
                                     std::span<const catalog::Tag> tags) {
  const std::lock_guard lock(mutex_);
  fs::Library::Images made;
  for (const std::string& name : images) {
    fs::ImageEntry image{
        .id = id_of(images_, name), .name = name, .modified = {}, .versions = {}, .links = {}};
    const auto own = std::ranges::equal_range(
        versions, name, {},
        [](const catalog::Version& version) -> const std::string& { return version.facts.image; });
    for (const catalog::Version& version : own) {
      image.versions.push_back(describe(version));
      image.modified = std::max(image.modified, version.facts.published);
    }
    image.links = links_of(image, {own.begin(), own.end()}, tags);
    made.push_back(std::move(image));
  }
  return made;
}

}  // namespace icbd::library
