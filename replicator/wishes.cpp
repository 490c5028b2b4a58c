#include "icbd/replicator/wishes.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/catalog/find_version.h"

namespace icbd::replicator {
using catalog::Subscription;
using catalog::Version;

std::vector<Version> wanted_by(const VersionTable& table, const Subscription& subscription) {
  const auto versions = table.of(subscription.image);
  std::vector<Version> wanted;
  if (!subscription.tag.empty()) {
    const auto found =
        catalog::find_version(versions, table.tags, subscription.image, subscription.tag);
    if (found) wanted.push_back(**found);
    return wanted;
  }
  const std::size_t count = std::min<std::size_t>(subscription.latest, versions.size());
  for (std::size_t i = 1; i <= count; ++i) wanted.push_back(versions[versions.size() - i]);
  return wanted;
}

std::vector<Version> wanted_versions(const VersionTable& table, const std::string& image) {
  std::vector<Version> wanted;
  for (const Version& version : table.of(image))
    if (version.pulled) wanted.push_back(version);
  const auto subscription = std::ranges::find(table.subscriptions, image, &Subscription::image);
  if (subscription == table.subscriptions.end()) return wanted;
  for (Version& version : wanted_by(table, *subscription))
    if (std::ranges::find(wanted, version.serial, &Version::serial) == wanted.end())
      wanted.push_back(std::move(version));
  return wanted;
}

std::string describe(const Subscription& subscription) {
  if (!subscription.tag.empty()) return fmt::format("the version tagged {}", subscription.tag);
  if (subscription.latest == 1) return "the newest version";
  return fmt::format("the newest {} versions", subscription.latest);
}

}  // namespace icbd::replicator
