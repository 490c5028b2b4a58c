#include "layout.h"

#include <fmt/format.h>

namespace icbd::repository {

std::filesystem::path Layout::version(const std::string& image, VersionNumber number) const {
  return directory_ / image / fmt::to_string(number.value());
}

std::filesystem::path Layout::staging(const std::string& image, VersionNumber number) const {
  return directory_ / image / fmt::format("{}{}", arriving_prefix, number.value());
}

std::filesystem::path Layout::publishing(const std::string& image, VersionNumber number) const {
  return directory_ / image / fmt::format("{}{}", publishing_prefix, number.value());
}

std::filesystem::path Layout::manifest(const std::string& image, VersionNumber number) const {
  return manifests() / image / fmt::to_string(number.value());
}

std::filesystem::path Layout::facts(const std::string& image, VersionNumber number) const {
  return manifests() / image / fmt::format("{}{}", number.value(), facts_suffix);
}

std::filesystem::path Layout::pending_map(const std::string& image, VersionNumber number) const {
  return pending_maps() / image / fmt::to_string(number.value());
}

}  // namespace icbd::repository
