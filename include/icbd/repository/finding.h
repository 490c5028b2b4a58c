// What recovery and fsck find out of order in a repository, and what became of it.
//
// Purpose: one form for the log, for status and for `icbd fsck`. Plain values.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace icbd::repository {

enum class FindingKind {
  // Catalog.
  catalog_missing,
  catalog_damaged,
  // Complete versions.
  not_renamed,      // committed, but still under its hidden name
  version_missing,  // its subvolume is gone
  not_subvolume,    // something else has its name
  other_subvolume,  // a subvolume with another UUID has its name
  writable,         // somebody may have changed it
  facts_missing,    // what a lost catalog is rebuilt from
  manifest_missing,
  manifest_damaged,
  metadata_damaged,  // names, modes, times, … are not what the manifest says
  data_damaged,      // bytes are not what the manifest says, or cannot be read
  // What has not been committed, or belongs to nothing.
  arrival_lost,         // an arrival that cannot go on
  unfinished,           // a hidden subvolume of a publication or arrival that was not committed
  unknown_version,      // a version's name that the catalog does not call complete
  leftover_manifest,    // of a version that is not here
  leftover_facts,       //
  leftover_pending_map  // of a version that does not arrive
};
// "version_missing"
std::string_view to_string(FindingKind kind);

struct Finding {
  FindingKind kind = FindingKind::unfinished;
  std::string version = {};  // "disk@3"; empty if it is about no version
  std::filesystem::path path = {};
  std::string what = {};    // what is wrong
  std::string action = {};  // what was done about it, or is left to do
  bool settled = false;     // nothing is left to do
};

// One line: "disk@3: its subvolume /srv/icbd/disk/3 is missing: …".
std::string describe(const Finding& finding);
// As status tells them: [{"kind", "text", "settled"}].
nlohmann::json to_json(std::span<const Finding> findings);

}  // namespace icbd::repository
