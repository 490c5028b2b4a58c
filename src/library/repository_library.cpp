#include "icbd/library/repository_library.h"

#include "icbd/library/complete_tree.h"

namespace icbd::library {
namespace {

// Each holds a descriptor: a walk over thousands of versions must not use up the process's.
constexpr std::size_t most_open = 256;

}  // namespace

// With mutex_ held. What cannot be read leaves what was known.
Status RepositoryLibrary::refresh() {
  const catalog::Catalog& catalog = repository_.catalog();
  ICBD_ASSIGN(const std::uint64_t change_number, catalog.change_number());
  if (change_number == change_number_) return {};
  ICBD_ASSIGN(const auto names, catalog.images());
  ICBD_ASSIGN(auto versions, catalog.versions());
  ICBD_ASSIGN(const auto tags, catalog.tags());
  std::erase_if(versions, [](const catalog::Version& version) {
    return version.state != catalog::VersionState::complete;
  });
  images_ = std::make_shared<const Images>(table_.make(names, versions, tags));
  versions_.clear();
  for (catalog::Version& version : versions) versions_.emplace(version.serial, std::move(version));
  std::erase_if(open_, [&](const auto& entry) { return !versions_.contains(entry.first); });
  change_number_ = change_number;
  return {};
}

std::shared_ptr<const fs::Library::Images> RepositoryLibrary::images() {
  const std::lock_guard lock(mutex_);
  if (const Status refreshed = refresh(); !refreshed)
    repository_.logger()->error("{}", refreshed.error().message());
  return images_;
}

std::optional<fs::VersionEntry> RepositoryLibrary::version(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  const auto found = versions_.find(serial);
  if (found == versions_.end()) return std::nullopt;
  return describe(found->second);
}

Result<std::shared_ptr<fs::Tree>> RepositoryLibrary::open(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  if (const auto found = open_.find(serial); found != open_.end()) return found->second;
  const auto version = versions_.find(serial);
  if (version == versions_.end()) return fail(ErrorCode::not_found, "no such version");
  const catalog::VersionFacts& facts = version->second.facts;
  ICBD_ASSIGN(unique_fd root, repository_.open_version(facts.image, facts.number));
  ICBD_ASSIGN(replicator::Staging taken, replicator::Staging::take(std::move(root)));
  const auto subvolume = std::make_shared<const replicator::Staging>(std::move(taken));
  auto tree = std::make_shared<CompleteTree>(subvolume, *subvolume, version->second.generation);
  if (open_.size() >= most_open) open_.erase(open_.begin());
  return open_.emplace(serial, std::move(tree)).first->second;
}

std::shared_ptr<fs::Tree> RepositoryLibrary::tree(VersionSerial serial) {
  return open(serial).value_or(nullptr);
}

void RepositoryLibrary::prepare(VersionSerial serial, TreeDone done) {
  done(open(serial));
}

Result<struct statvfs> RepositoryLibrary::space() {
  struct statvfs space{};
  if (::fstatvfs(repository_.directory_fd(), &space) != 0) return fail_errno("statvfs");
  return space;
}

}  // namespace icbd::library
