// The offline check of a repository, and its repair.
//
// Purpose: what a start cannot afford to look at: the catalog's file from inside, every page of
// every manifest, names and metadata of every complete version, and with `data` every byte.
// Lifecycle: one call; it holds the repository's lock, so no daemon may have it open.
// Guarantees: without `repair` nothing in the repository is changed (the catalog is looked at in a
// copy). With `repair` bytes of a complete version are never deleted: what is damaged on a cache is
// renamed aside to REPOSITORY/IMAGE/.quarantined-NUMBER-TIME and the version is remote again; on a
// master, whose copy may be the only one, it is reported and left where it is.
// A catalog that is lost or damaged is rebuilt from the versions on disk and the facts beside their
// manifests, with new serials and a new epoch; the damaged file is kept as
// catalog.sqlite3.damaged-TIME. Doing it again after a kill at any point ends in the same.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/repository/finding.h"

namespace icbd::repository {

// Whose repository it is: what a cache has lost it can fetch again.
enum class Role { master, cache };
std::string_view to_string(Role role);

struct FsckOptions {
  std::filesystem::path directory;
  // None: a catalog that follows a source or has versions that are not complete is a cache's.
  std::optional<Role> role = {};
  bool repair = false;
  bool data = false;
};

// Of the version that is being looked at; read by others.
struct FsckProgress {
  std::atomic<std::uint64_t> versions_total = 0;
  std::atomic<std::uint64_t> versions_done = 0;
  std::atomic<std::uint64_t> bytes_total = 0;
  std::atomic<std::uint64_t> bytes_done = 0;
};

struct FsckReport {
  Role role = Role::master;
  std::uint64_t versions = 0;  // complete ones that were looked at
  std::vector<Finding> findings;

  bool clean() const { return findings.empty(); }
  bool all_settled() const;
};

// busy if a daemon has the repository open; not_found if the directory is none.
Result<FsckReport> fsck(const FsckOptions& options, FsckProgress& progress);

}  // namespace icbd::repository
