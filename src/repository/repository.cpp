#include "icbd/repository/repository.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "directory_lock.h"
#include "facts_file.h"
#include "layout.h"
#include "recovery.h"
#include "remove.h"
#include "version_place.h"

namespace icbd::repository {
namespace {

// Everything in a repository is for root alone: versions carry setuid files and device nodes.
constexpr mode_t private_directory = 0700;

Status make_directory(const std::filesystem::path& path) {
  if (mkdir(path.c_str(), private_directory) != 0 && errno != EEXIST)
    return fail_errno(fmt::format("make directory {}", path.string()));
  return {};
}

// Never a new catalog for versions that an old one knew: recovery would take their files for
// leftovers.
Result<std::unique_ptr<catalog::Catalog>> open_catalog(const Layout& layout) {
  const std::string command =
      fmt::format("icbd fsck --repair --repository {}", layout.directory().string());
  std::error_code error;
  const auto size = std::filesystem::file_size(layout.catalog(), error);
  if ((error || size == 0) && holds_versions(layout))
    return fail(
        ErrorCode::corrupt,
        fmt::format("the catalog {} is missing, but the repository holds versions; bring it "
                    "back from a backup, or rebuild it from what is here with `{}`",
                    layout.catalog().string(), command));
  auto catalog = catalog::Catalog::open(layout.catalog());
  if (!catalog && catalog.error().code() == ErrorCode::corrupt)
    return fail(ErrorCode::corrupt,
                fmt::format("{}; `{}` rebuilds it from the versions that are here",
                            catalog.error().message(), command));
  return catalog;
}

// Received UUID first: the kernel refuses it on a read-only subvolume. A landing that failed
// after this step finds both done.
Status seal(int root_fd, const catalog::VersionFacts& facts) {
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root_fd));
  if (info.read_only && info.received_uuid == facts.uuid) return {};
  ICBD_TRY(btrfs::set_received(root_fd, facts.uuid, facts.send_transaction));
  return btrfs::set_read_only(root_fd, true);
}

// The name itself, or with a number behind it: nothing that somebody may want is overwritten.
std::filesystem::path free_name(const std::string& name) {
  std::filesystem::path path = name;
  for (int i = 2; is_there(path); ++i) path = fmt::format("{}-{}", name, i);
  return path;
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
  ICBD_ASSIGN(repository->lock_, take_lock(layout, true));
  ICBD_TRY(make_directory(layout.manifests()));
  ICBD_TRY(make_directory(layout.pending_maps()));
  ICBD_ASSIGN(repository->catalog_, open_catalog(layout));
  ICBD_TRY(write_repository_uuid(layout.repository_uuid(), repository->catalog_->identity().uuid));
  ICBD_ASSIGN(repository->recovery_findings_, recover(layout, *repository->catalog_));
  log_findings(repository->logger_, repository->recovery_findings_);
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
  const auto version = catalog_->version(image, number);
  if (!version || version->state != catalog::VersionState::complete)
    return fail(ErrorCode::not_found,
                fmt::format("{}@{} is not complete here", image, number.value()));
  // Between the catalog's commit and the renaming it has its hidden name; the visible one is
  // tried again because the renaming may come in between.
  const auto path = path_of(layout, version->facts, version->place);
  std::vector<std::filesystem::path> names = {path};
  if (!version->place)
    names = {path, layout.staging(image, number), layout.publishing(image, number), path};
  for (const auto& name : names) {
    Place place = version->place ? look_at(layout, *version) : look_at(name, version->facts.uuid);
    if (place.state == PlaceState::good) return std::move(place.root);
    if (place.state != PlaceState::missing)
      return fail(ErrorCode::corrupt,
                  fmt::format("{}@{} is not served, because {} {}; run icbd fsck", image,
                              number.value(), name.string(), place.what));
  }
  return fail(ErrorCode::not_found, fmt::format("{}@{} should be complete, but {} does not exist",
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
  ICBD_ASSIGN(const catalog::Version known, catalog_->version(version.serial));
  if (known.state != catalog::VersionState::complete) {
    ICBD_ASSIGN(const unique_fd root, open_file(staging, O_RDONLY | O_DIRECTORY));
    ICBD_TRY(seal(root.get(), facts));
    ICBD_TRY(btrfs::sync_filesystem(root.get()));
    ICBD_TRY(write_facts(Layout(directory_).facts(facts.image, facts.number), {.facts = facts}));
    ICBD_TRY(catalog_->set_state(version.serial, catalog::VersionState::complete));
  }
  // From here on the version is complete: if a later step fails, the next call or recovery does it.
  std::error_code error;
  if (std::filesystem::exists(staging, error))
    ICBD_TRY(rename_new(staging, version_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(pending_map_path(facts.image, facts.number)));
  logger_->info("{}@{} is complete", facts.image, facts.number.value());
  return {};
}

Status Repository::discard_arrival(const catalog::Version& version) {
  // The catalog first: what is still there after a crash is then removed by recovery.
  ICBD_TRY(catalog_->clear_arrival(version.serial));
  return remove_remains(version);
}

Status Repository::drop_version(const catalog::Version& version) {
  const auto& facts = version.facts;
  if (version.place)
    return fail(ErrorCode::unsupported,
                fmt::format("{}@{} was adopted where it is, at {}: it is not icbd's to remove",
                            facts.image, facts.number.value(), version.place->path));
  // Hidden first: while the catalog calls it complete, recovery gives it its name back, and after
  // that removes it; under its own name it would be taken for somebody else's.
  const auto hidden = staging_path(facts.image, facts.number);
  ICBD_TRY(rename_new(version_path(facts.image, facts.number), hidden));
  if (const Status forgotten = catalog_->set_state(version.serial, catalog::VersionState::remote);
      !forgotten) {
    if (const Status back = rename_new(hidden, version_path(facts.image, facts.number)); !back)
      logger_->error("{}@{} gets its name back at the next start: {}", facts.image,
                     facts.number.value(), back.error().message());
    return forgotten;
  }
  return remove_remains(version);
}

Result<std::optional<std::string>> Repository::give_up_if_damaged(const catalog::Version& version) {
  const auto& facts = version.facts;
  const auto root = open_version(facts.image, facts.number);
  if (root) return std::nullopt;
  if (version.place) return std::unexpected(root.error());
  const auto path = version_path(facts.image, facts.number);
  std::string why = look_at(path, facts.uuid).what;
  if (is_there(path)) {
    const auto aside = free_name(path.string() + ".changed");
    ICBD_TRY(rename_new(path, aside));
    why += fmt::format("; what is there is kept as {}", aside.string());
  }
  ICBD_TRY(catalog_->set_state(version.serial, catalog::VersionState::remote));
  ICBD_TRY(remove_remains(version));
  return why;
}

// Of a version that is remote again.
Status Repository::remove_remains(const catalog::Version& version) {
  const auto& facts = version.facts;
  const auto manifest = manifest_path(facts.image, facts.number);
  {
    // Whoever holds the old pages keeps them; a new arrival begins with none.
    const std::lock_guard lock(manifests_->mutex);
    manifests_->stores.erase(manifest);
  }
  ICBD_TRY(remove_subvolume(staging_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(pending_map_path(facts.image, facts.number)));
  ICBD_TRY(remove_file(Layout(directory_).facts(facts.image, facts.number)));
  ICBD_TRY(remove_file(manifest));
  logger_->info("{}@{} is remote again", facts.image, facts.number.value());
  return {};
}

}  // namespace icbd::repository
