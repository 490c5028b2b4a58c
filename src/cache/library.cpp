#include "library.h"

#include <sys/stat.h>

#include <algorithm>

#include "arriving_tree.h"
#include "complete_tree.h"

namespace icbd::cache {
namespace {

fs::VersionEntry describe(const catalog::Version& version) {
  const catalog::RootAttributes& root = version.facts.root;
  fs::VersionEntry entry{.serial = version.serial,
                         .number = version.facts.number,
                         .state = std::string(catalog::to_string(version.state)),
                         .image = version.facts.image,
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

}  // namespace

// Called with mutex_ held. Ids are given in the order in which names are first seen.
std::uint32_t CacheLibrary::id_of(const std::string& image) {
  return ids_.try_emplace(image, static_cast<std::uint32_t>(ids_.size() + 1)).first->second;
}

std::shared_ptr<const fs::Library::Images> CacheLibrary::images() {
  const auto table = replicator_.versions();
  const std::lock_guard lock(mutex_);
  if (table == table_) return images_;
  auto images = std::make_shared<Images>();
  auto version = table->versions.begin();
  for (const std::string& name : table->images) {
    fs::ImageEntry image{.id = id_of(name), .name = name, .modified = {}, .versions = {}};
    for (; version != table->versions.end() && version->facts.image == name; ++version) {
      image.versions.push_back(describe(*version));
      image.modified = std::max(image.modified, version->facts.published);
    }
    images->push_back(std::move(image));
  }
  table_ = table;
  images_ = std::move(images);
  return images_;
}

std::optional<fs::VersionEntry> CacheLibrary::version(VersionSerial serial) {
  const auto found = replicator_.find(serial);
  if (!found) return std::nullopt;
  return describe(*found);
}

std::shared_ptr<fs::Tree> CacheLibrary::tree_of(
    std::shared_ptr<const replicator::OpenedVersion> opened) {
  if (!opened) return nullptr;
  if (opened->arrival)
    return std::make_shared<ArrivingTree>(
        opened->arrival, [replicator = &replicator_, arrival = opened->arrival.get()](
                             std::uint64_t bytes) { replicator->note_read(*arrival, bytes); });
  const replicator::Staging& subvolume = *opened->complete;
  return std::make_shared<CompleteTree>(std::move(opened), subvolume);
}

std::shared_ptr<fs::Tree> CacheLibrary::tree(VersionSerial serial) {
  return tree_of(replicator_.opened(serial));
}

void CacheLibrary::prepare(VersionSerial serial, TreeDone done) {
  if (!fetches_) {
    if (auto here = tree(serial)) return done(std::move(here));
    return done(fail(ErrorCode::io, "the version is not here, and fetch.fill is \"never\""));
  }
  replicator_.open(serial, [this, done = std::move(done)](
                               Result<std::shared_ptr<const replicator::OpenedVersion>> opened) {
    if (opened)
      done(tree_of(std::move(*opened)));
    else
      done(std::unexpected(opened.error()));
  });
}

Result<struct statvfs> CacheLibrary::space() {
  struct statvfs space{};
  if (::fstatvfs(repository_.directory_fd(), &space) != 0) return fail_errno("statvfs");
  return space;
}

}  // namespace icbd::cache
