#include "icbd/replicator/local_versions.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/replicator/content.h"

#include "describe.h"

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
  return std::make_shared<const LocalVersion>(LocalVersion{.version = version,
                                                           .subvolume = std::move(subvolume),
                                                           .pages = std::move(pages),
                                                           .entries = std::move(entries),
                                                           .reader = std::move(reader)});
}

}  // namespace

Result<std::span<const InodeNumber>> EntryInodes::of(const LocalVersion& version) {
  const std::lock_guard lock(mutex_);
  if (!inodes_.empty()) return inodes_;
  ICBD_ASSIGN(const std::vector<Staging::Name> names, version.subvolume.walk());
  const bool same =
      std::ranges::equal(names, version.entries, {}, &Staging::Name::path, &manifest::Entry::path);
  if (!same)
    return fail(ErrorCode::corrupt, fmt::format("the names in {} are not those of its manifest",
                                                name_of(version.version)));
  inodes_.reserve(names.size());
  for (const Staging::Name& name : names) inodes_.push_back(name.inode);
  return inodes_;
}

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
  keep(local);
  return local;
}

Status LocalVersions::add(const catalog::Version& version, const Content& arrived) {
  const catalog::VersionFacts& facts = version.facts;
  ICBD_ASSIGN(unique_fd root, repository_.open_version(facts.image, facts.number));
  ICBD_ASSIGN(Staging subvolume, Staging::take(std::move(root)));
  ICBD_ASSIGN(auto pages, repository_.pages(facts.image, facts.number));
  ICBD_ASSIGN(manifest::Reader reader, manifest::Reader::open(*pages, facts.manifest));
  keep(std::make_shared<const LocalVersion>(
      LocalVersion{.version = version,
                   .subvolume = std::move(subvolume),
                   .pages = std::move(pages),
                   .entries = arrived.entries(),
                   .reader = std::move(reader),
                   .inodes = std::make_shared<EntryInodes>(arrived.inodes())}));
  return {};
}

void LocalVersions::keep(std::shared_ptr<const LocalVersion> local) {
  const std::lock_guard lock(mutex_);
  std::erase_if(recent_,
                [&](const auto& known) { return known->version.serial == local->version.serial; });
  recent_.push_front(std::move(local));
  if (recent_.size() > kept_open) recent_.pop_back();
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
