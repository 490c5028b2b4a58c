#include "icbd/repository/fsck.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "catalog_repair.h"
#include "directory_lock.h"
#include "layout.h"
#include "recovery.h"
#include "take_back.h"
#include "version_check.h"

namespace icbd::repository {
namespace {

using catalog::Catalog;
using catalog::Version;
using catalog::VersionState;

Result<unique_fd> lock_repository(const Layout& layout, bool create) {
  auto lock = take_lock(layout, create);
  if (lock) return lock;
  switch (lock.error().code()) {
    case ErrorCode::busy:
      return fail(ErrorCode::busy, fmt::format("the repository {} is in use; stop its daemon first",
                                               layout.directory().string()));
    case ErrorCode::not_found:
      return fail(ErrorCode::not_found,
                  fmt::format("{} is no repository: it has no {}", layout.directory().string(),
                              layout.lock().string()));
    default:
      return lock;
  }
}

Result<Role> role_of(const Catalog& catalog) {
  ICBD_ASSIGN(const auto source, catalog.followed_source());
  ICBD_ASSIGN(const auto versions, catalog.versions());
  const bool follows = source || std::ranges::any_of(versions, [](const Version& version) {
                         return version.state != VersionState::complete;
                       });
  return follows ? Role::cache : Role::master;
}

// What the check of each version finds itself, in more detail.
bool is_looked_into(const Finding& finding) {
  switch (finding.kind) {
    case FindingKind::version_missing:
    case FindingKind::not_subvolume:
    case FindingKind::other_subvolume:
    case FindingKind::writable:
    case FindingKind::manifest_missing:
    case FindingKind::manifest_damaged:
      return !finding.settled;
    default:
      return false;
  }
}

class Fsck {
 public:
  Fsck(Layout layout, FsckOptions options, FsckProgress& progress)
      : layout_(std::move(layout)), options_(std::move(options)), progress_(progress) {}

  Result<FsckReport> run() {
    ICBD_ASSIGN(const auto copy, CatalogCopy::make(layout_));
    ICBD_ASSIGN(auto damage, check_catalog(layout_, copy));
    if (damage && !options_.repair) {
      damage->action = "--repair builds a new one from the versions that are here";
      report_.findings.push_back(std::move(*damage));
      report_.role = options_.role.value_or(Role::master);
      return std::move(report_);
    }
    if (damage) {
      ICBD_ASSIGN(report_.findings, rebuild_catalog(layout_, std::move(*damage)));
    }
    ICBD_ASSIGN(const auto catalog,
                Catalog::open(options_.repair ? layout_.catalog() : copy.file()));
    ICBD_TRY(check_repository(*catalog));
    return std::move(report_);
  }

 private:
  Status check_repository(Catalog& catalog) {
    if (!options_.role) {
      ICBD_ASSIGN(options_.role, role_of(catalog));
    }
    report_.role = *options_.role;
    ICBD_ASSIGN(auto taken, take_back_versions(layout_, catalog, options_.repair));
    ICBD_ASSIGN(auto recovered,
                recover(layout_, catalog, {.act = options_.repair, .manifest_bytes_max = 0}));
    std::erase_if(recovered, is_looked_into);
    // The same subvolume was found twice: once to be taken, once to be unknown.
    std::erase_if(recovered, [&](const Finding& finding) {
      return std::ranges::any_of(taken, [&](const Finding& other) {
        return other.kind == finding.kind && other.path == finding.path;
      });
    });
    std::ranges::move(taken, std::back_inserter(report_.findings));
    std::ranges::move(recovered, std::back_inserter(report_.findings));
    return check_versions(catalog);
  }

  Status check_versions(Catalog& catalog) {
    ICBD_ASSIGN(auto versions, catalog.versions());
    std::erase_if(versions,
                  [](const Version& version) { return version.state != VersionState::complete; });
    report_.versions = versions.size();
    progress_.versions_total = versions.size();
    for (const Version& version : versions) {
      // Recovery without acting has told what is to be renamed: that one is not missing.
      if (!is_to_be_renamed(version))
        ICBD_TRY(check_version(
            {.layout = layout_, .catalog = catalog, .options = options_, .progress = progress_},
            version, report_.findings));
      ++progress_.versions_done;
    }
    return {};
  }

  bool is_to_be_renamed(const Version& version) const {
    const auto name = fmt::format("{}@{}", version.facts.image, version.facts.number.value());
    return std::ranges::any_of(report_.findings, [&](const Finding& finding) {
      return finding.kind == FindingKind::not_renamed && !finding.settled &&
             finding.version == name;
    });
  }

  Layout layout_;
  FsckOptions options_;
  FsckProgress& progress_;
  FsckReport report_;
};

}  // namespace

std::string_view to_string(Role role) {
  return role == Role::master ? "master" : "cache";
}

bool FsckReport::all_settled() const {
  return std::ranges::all_of(findings, &Finding::settled);
}

Result<FsckReport> fsck(const FsckOptions& options, FsckProgress& progress) {
  ICBD_ASSIGN(const auto directory, find_directory(options.directory));
  const Layout layout(directory);
  ICBD_ASSIGN(const unique_fd lock, lock_repository(layout, options.repair));
  return Fsck(layout, options, progress).run();
}

}  // namespace icbd::repository
