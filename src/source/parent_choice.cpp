#include "parent_choice.h"

#include <algorithm>
#include <tuple>

namespace icbd::source {
namespace {

using catalog::Version;

// Smaller is better.
auto cost(const Version& version, const Version& candidate) {
  const VersionNumber wanted = version.facts.number;
  const VersionNumber number = candidate.facts.number;
  const bool is_parent = version.facts.parent == number;
  const bool is_lower = number < wanted;
  const std::uint32_t distance =
      is_lower ? wanted.value() - number.value() : number.value() - wanted.value();
  return std::tuple(!is_parent, !is_lower, distance);
}

}  // namespace

std::optional<Version> choose_parent(const Version& version, std::span<const Version> versions,
                                     std::span<const Uuid> offered) {
  const Version* best = nullptr;
  for (const Version& candidate : versions) {
    if (candidate.serial == version.serial || candidate.facts.image != version.facts.image ||
        candidate.state != catalog::VersionState::complete ||
        std::ranges::find(offered, candidate.facts.uuid) == offered.end())
      continue;
    if (best == nullptr || cost(version, candidate) < cost(version, *best)) best = &candidate;
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

}  // namespace icbd::source
