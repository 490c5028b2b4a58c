#include "icbd/replicator/local_versions.h"

#include <algorithm>

namespace icbd::replicator {
namespace {

// The parent of the version that is read and that of the one that is filled.
constexpr std::size_t kept_open = 2;

Result<std::shared_ptr<const LocalVersion>> open_version(repository::Repository& repository,
                                                         const catalog::Version& version) {
  const catalog::VersionFacts& facts = version.facts;
  ICBD_ASSIGN(unique_fd root, repository.open_version(facts.image, facts.number));
  ICBD_ASSIGN(Staging subvolume, Staging::take(std::move(root)));
  ICBD_ASSIGN(auto pages, repository.pages(facts.image, facts.number));
  ICBD_ASSIGN(manifest::Reader reader, manifest::Reader::open(*pages, facts.manifest));
  ICBD_ASSIGN(std::vector<manifest::Entry> entries, reader.entries());
  return std::make_shared<const LocalVersion>(LocalVersion{
      version, std::move(subvolume), std::move(pages), std::move(entries), std::move(reader)});
}

}  // namespace

std::shared_ptr<const LocalVersion> LocalVersions::find(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      recent_, [&](const auto& local) { return local->version.serial == serial; });
  if (found == recent_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found);
  return recent_.front();
}

Result<std::shared_ptr<const LocalVersion>> LocalVersions::open(const catalog::Version& version) {
  if (auto known = find(version.serial)) return known;
  ICBD_ASSIGN(auto local, open_version(repository_, version));
  const std::lock_guard lock(mutex_);
  recent_.push_front(local);
  if (recent_.size() > kept_open) recent_.pop_back();
  return local;
}

Result<std::shared_ptr<const LocalVersion>> LocalVersions::open_once(
    const catalog::Version& version) {
  if (auto known = find(version.serial)) return known;
  return open_version(repository_, version);
}

void LocalVersions::forget(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  std::erase_if(recent_, [&](const auto& local) { return local->version.serial == serial; });
}

}  // namespace icbd::replicator
