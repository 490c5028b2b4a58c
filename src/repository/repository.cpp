#include "icbd/repository/repository.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "filesystem_type.h"
#include "layout.h"
#include "recovery.h"
#include "remove.h"

namespace icbd::repository {
namespace {

// Everything in a repository is for root alone: versions carry setuid files and device nodes.
constexpr mode_t private_directory = 0700;

Result<std::filesystem::path> find_directory(const std::filesystem::path& directory) {
  std::error_code error;
  auto found = std::filesystem::canonical(directory, error);
  if (error) return fail_errno(fmt::format("repository {}", directory.string()), error.value());
  ICBD_ASSIGN(const bool btrfs, btrfs::is_btrfs(found));
  if (!btrfs)
    return fail(ErrorCode::unsupported, fmt::format("repository {} is on {}; it has to be on BTRFS",
                                                    found.string(), filesystem_type(found)));
  return found;
}

Status make_directory(const std::filesystem::path& path) {
  if (mkdir(path.c_str(), private_directory) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("make directory {}", path.string()));
  return {};
}

Result<unique_fd> take_lock(const Layout& layout) {
  ICBD_ASSIGN(auto lock, open_file(layout.lock(), O_RDWR | O_CREAT, 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return fail_errno(fmt::format("lock {}", layout.lock().string()));
  return fail(ErrorCode::busy, fmt::format("repository {} is in use by another daemon",
                                           layout.directory().string()));
}

// Received UUID first: the kernel refuses it on a read-only subvolume. A landing that failed
// after this step finds both done.
Status seal(int root_fd, const catalog::VersionFacts& facts) {
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root_fd));
  if (info.read_only && info.received_uuid == facts.uuid) return {};
  ICBD_TRY(btrfs::set_received(root_fd, facts.uuid, facts.send_transaction));
  return btrfs::set_read_only(root_fd, true);
}

}  // namespace

struct Repository::OpenManifests {
  std::mutex mutex;
  std::map<std::filesystem::path, std::weak_ptr<manifest::FilePageStore>> stores;
};

Repository::Repository(std::filesystem::path directory, Logger logger)
    : directory_(std::move(directory)),
      logger_(std::move(logger)),
      manifests_(std::make_unique<OpenManifests>()) {}

Repository::~Repository() = default;

Result<std::unique_ptr<Repository>> Repository::open(const std::filesystem::path& directory,
                                                     Logger logger) {
  ICBD_ASSIGN(auto found, find_directory(directory));
  std::unique_ptr<Repository> repository(new Repository(std::move(found), std::move(logger)));
  const Layout layout(repository->directory_);
  ICBD_ASSIGN(repository->directory_fd_, open_file(repository->directory_, O_RDONLY | O_DIRECTORY));
  if (fchmod(repository->directory_fd_.get(), private_directory) != 0)
    return fail_errno(fmt::format("make {} private", repository->directory_.string()));
  ICBD_TRY(make_directory(layout.own()));
  ICBD_ASSIGN(repository->lock_, take_lock(layout));
  ICBD_TRY(make_directory(layout.manifests()));
  ICBD_TRY(make_directory(layout.pending_maps()));
  ICBD_ASSIGN(repository->catalog_, catalog::Catalog::open(layout.catalog()));
  ICBD_TRY(recover(layout, *repository->catalog_, repository->logger_));
  return repository;
}

std::filesystem::path Repository::version_path(const std::string& image,
                                               VersionNumber number) const {
  return Layout(directory_).version(image, number);
}

std::filesystem::path Repository::staging_path(const std::string& image,
                                               VersionNumber number) const {
  return Layout(directory_).staging(image, number);
}

std::filesystem::path Repository::manifest_path(const std::string& image,
                                                VersionNumber number) const {
  return Layout(directory_).manifest(image, number);
}

std::filesystem::path Repository::pending_map_path(const std::string& image,
                                                   VersionNumber number) const {
  return Layout(directory_).pending_map(image, number);
}

Status Repository::prepare_image(const std::string& image) {
  const Layout layout(directory_);
  ICBD_TRY(make_directory(layout.image(image)));
  ICBD_TRY(make_directory(layout.manifests() / image));
  return make_directory(layout.pending_maps() / image);
}

Result<unique_fd> Repository::open_version(const std::string& image, VersionNumber number) const {
  const Layout layout(directory_);
  const auto path = layout.version(image, number);
  auto root = open_file(path, O_RDONLY | O_DIRECTORY);
  if (root || root.error().code() != ErrorCode::not_found) return root;
  // Between the catalog's commit and the renaming it has its hidden name; the visible one is
  // tried again because the renaming may come in between.
  const auto version = catalog_->version(image, number);
  if (version && version->state == catalog::VersionState::complete)
    for (const auto& name : {layout.staging(image, number), layout.publishing(image, number), path})
      if (auto opened = open_file(name, O_RDONLY | O_DIRECTORY)) return opened;
  return fail(ErrorCode::not_found, fmt::format("{}@{} is not complete here: {} does not exist",
                                                image, number.value(), path.string()));
}

Result<std::shared_ptr<manifest::FilePageStore>> Repository::pages(const std::string& image,
                                                                   VersionNumber number,
                                                                   bool create) {
  const auto path = manifest_path(image, number);
  if (create) ICBD_TRY(prepare_image(image));
  const std::lock_guard lock(manifests_->mutex);
  std::erase_if(manifests_->stores, [](const auto& entry) { return entry.second.expired(); });
  if (auto open = manifests_->stores[path].lock()) return open;
  ICBD_ASSIGN(auto opened, manifest::FilePageStore::open(path, create));
  std::shared_ptr<manifest::FilePageStore> shared = std::move(opened);
  manifests_->stores[path] = shared;
  return shared;
}

Status Repository::commit_landing(const catalog::Version& version) {
  const auto& facts = version.facts;
  const auto staging = staging_path(facts.image, facts.number);
  {
    ICBD_ASSIGN(const unique_fd root, open_file(staging, O_RDONLY | O_DIRECTORY));
    ICBD_TRY(btrfs::sync_filesystem(root.get()));
    ICBD_TRY(seal(root.get(), facts));
    ICBD_TRY(btrfs::sync_filesystem(root.get()));
  }
  // From here on the version is complete: if a later step fails, recovery does it.
  ICBD_TRY(catalog_->set_state(version.serial, catalog::VersionState::complete));
  ICBD_TRY(rename_new(staging, version_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(pending_map_path(facts.image, facts.number)));
  logger_->info("{}@{} is complete", facts.image, facts.number.value());
  return {};
}

Status Repository::discard_arrival(const catalog::Version& version) {
  const auto& facts = version.facts;
  const auto manifest = manifest_path(facts.image, facts.number);
  // The catalog first: what is still there after a crash is then removed by recovery.
  ICBD_TRY(catalog_->clear_arrival(version.serial));
  {
    // Whoever holds the old pages keeps them; a new arrival begins with none.
    const std::lock_guard lock(manifests_->mutex);
    manifests_->stores.erase(manifest);
  }
  ICBD_TRY(remove_subvolume(staging_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(pending_map_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(manifest));
  logger_->info("{}@{} is remote again", facts.image, facts.number.value());
  return {};
}

}  // namespace icbd::repository
