#include "icbd/repository/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace icbd::repository {
namespace {

constexpr std::array names = {
    std::pair{FindingKind::catalog_missing, "catalog_missing"},
    std::pair{FindingKind::catalog_damaged, "catalog_damaged"},
    std::pair{FindingKind::not_renamed, "not_renamed"},
    std::pair{FindingKind::version_missing, "version_missing"},
    std::pair{FindingKind::not_subvolume, "not_subvolume"},
    std::pair{FindingKind::other_subvolume, "other_subvolume"},
    std::pair{FindingKind::writable, "writable"},
    std::pair{FindingKind::facts_missing, "facts_missing"},
    std::pair{FindingKind::manifest_missing, "manifest_missing"},
    std::pair{FindingKind::manifest_damaged, "manifest_damaged"},
    std::pair{FindingKind::metadata_damaged, "metadata_damaged"},
    std::pair{FindingKind::data_damaged, "data_damaged"},
    std::pair{FindingKind::arrival_lost, "arrival_lost"},
    std::pair{FindingKind::unfinished, "unfinished"},
    std::pair{FindingKind::unknown_version, "unknown_version"},
    std::pair{FindingKind::leftover_manifest, "leftover_manifest"},
    std::pair{FindingKind::leftover_facts, "leftover_facts"},
    std::pair{FindingKind::leftover_pending_map, "leftover_pending_map"},
};

}  // namespace

std::string_view to_string(FindingKind kind) {
  const auto* const found = std::ranges::find(names, kind, &decltype(names)::value_type::first);
  return found == names.end() ? "unknown" : found->second;
}

std::string describe(const Finding& finding) {
  return fmt::format("{}{}{}: {}", finding.version, finding.version.empty() ? "" : ": ",
                     finding.what, finding.action);
}

nlohmann::json to_json(std::span<const Finding> findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings)
    list.push_back({{"kind", to_string(finding.kind)},
                    {"text", describe(finding)},
                    {"settled", finding.settled}});
  return list;
}

}  // namespace icbd::repository
