// A repository: the images of one node below one BTRFS directory.
//
//   REPOSITORY/                       0700
//   REPOSITORY/IMAGE/NUMBER           a complete version: a read-only snapshot
//   REPOSITORY/IMAGE/.arriving-NUMBER an arriving version: a writable subvolume, hidden
//   REPOSITORY/IMAGE/.publishing-…    a publication that has not been committed
//   REPOSITORY/.icbd/catalog.sqlite3
//   REPOSITORY/.icbd/lock             flock(2)ed by the daemon that has it open
//   REPOSITORY/.icbd/repository.json          the repository's UUID
//   REPOSITORY/.icbd/manifests/IMAGE/NUMBER
//   REPOSITORY/.icbd/manifests/IMAGE/NUMBER.facts   what the catalog knows, if it gets lost
//   REPOSITORY/.icbd/arriving/IMAGE/NUMBER    the durable pending map of an arriving version
//
// Purpose: names, paths and the order of durable steps; catalog and filesystem together.
// Lifecycle: open() takes the lock, opens the catalog and recovers: what was not committed is
// removed (unfinished publications, shapes that the catalog does not call shaped), what was
// committed but not renamed is renamed; it logs what it found and did. The catalog decides, never
// a flag. A directory that holds versions but no catalog is refused: `icbd fsck --repair` rebuilds.
// Guarantees: thread-safe. Nothing is complete in the catalog before it is durable on disk.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/catalog/catalog.h"
#include "icbd/manifest/page_store.h"
#include "icbd/repository/finding.h"

namespace icbd::repository {

class Repository {
 public:
  // `directory` must exist on BTRFS; it becomes 0700. busy if another daemon has it open.
  static Result<std::unique_ptr<Repository>> open(const std::filesystem::path& directory,
                                                  Logger logger);
  ~Repository();

  const std::filesystem::path& directory() const { return directory_; }
  catalog::Catalog& catalog() { return *catalog_; }
  const Logger& logger() const { return logger_; }
  // What open() found out of order, and what it did about it.
  const std::vector<Finding>& recovery_findings() const { return recovery_findings_; }
  // A descriptor of the repository's directory, for calls on its filesystem.
  int directory_fd() const { return directory_fd_.get(); }

  std::filesystem::path version_path(const std::string& image, VersionNumber number) const;
  std::filesystem::path staging_path(const std::string& image, VersionNumber number) const;
  std::filesystem::path manifest_path(const std::string& image, VersionNumber number) const;
  std::filesystem::path pending_map_path(const std::string& image, VersionNumber number) const;
  // Makes the directories that a new image needs.
  Status prepare_image(const std::string& image);

  // The root directory of a complete version; also in the moment between the catalog's commit and
  // the renaming. `corrupt` if what stands there is not the version (another UUID, writable).
  Result<unique_fd> open_version(const std::string& image, VersionNumber number) const;
  // The manifest's pages; opened once and shared while anyone holds it. With `create`, an empty
  // one for an arriving version.
  Result<std::shared_ptr<manifest::FilePageStore>> pages(const std::string& image,
                                                         VersionNumber number, bool create = false);

  // The last steps of a landing, after the caller has drained and closed every writer and synced
  // what they wrote (metadata may have changed since): received UUID, read-only, sync, facts beside
  // the manifest, catalog commit (complete), rename, removal of the pending map.
  // Of a version that the catalog calls complete already: the steps after the commit.
  Status commit_landing(const catalog::Version& version);
  // Removes staging subvolume, manifest and pending map; the version is remote again.
  Status discard_arrival(const catalog::Version& version);

  // Removes a complete version's subvolume, manifest and facts; it is remote again. Killed on the
  // way, it is either complete or remote at the next start. unsupported for an adopted one.
  Status drop_version(const catalog::Version& version);

  // Looks at a complete version. Nothing if it stands in its place; else why it is given up: it is
  // remote again, and what stands there now (somebody may have written to it) has another name. An
  // adopted one is left as it is: corrupt.
  Result<std::optional<std::string>> give_up_if_damaged(const catalog::Version& version);

  // Held by whoever publishes or adopts; waits for who does.
  std::unique_lock<std::mutex> lock_publishing() { return std::unique_lock(publishing_); }
  // Held by whoever publishes; owns nothing if somebody publishes already.
  std::unique_lock<std::mutex> try_lock_publishing() {
    return std::unique_lock(publishing_, std::try_to_lock);
  }

 private:
  Repository(std::filesystem::path directory, Logger logger);

  std::filesystem::path directory_;
  Logger logger_;
  unique_fd directory_fd_;
  unique_fd lock_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::vector<Finding> recovery_findings_;
  Status remove_remains(const catalog::Version& version);

  struct OpenManifests;
  std::unique_ptr<OpenManifests> manifests_;
  std::mutex publishing_;
};

}  // namespace icbd::repository
