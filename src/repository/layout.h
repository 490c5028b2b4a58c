// Where things are below a repository's directory; include/icbd/repository/repository.h has the
// picture.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "icbd/base/types.h"

namespace icbd::repository {

class Layout {
 public:
  static constexpr std::string_view arriving_prefix = ".arriving-";
  static constexpr std::string_view publishing_prefix = ".publishing-";
  // What fsck has put aside; nothing looks at it any more but a person.
  static constexpr std::string_view quarantined_prefix = ".quarantined-";
  // Behind a manifest's name: the version's facts.
  static constexpr std::string_view facts_suffix = ".facts";

  explicit Layout(std::filesystem::path directory) : directory_(std::move(directory)) {}

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path image(const std::string& image) const { return directory_ / image; }
  std::filesystem::path version(const std::string& image, VersionNumber number) const;
  std::filesystem::path staging(const std::string& image, VersionNumber number) const;
  std::filesystem::path publishing(const std::string& image, VersionNumber number) const;

  std::filesystem::path own() const { return directory_ / ".icbd"; }
  std::filesystem::path catalog() const { return own() / "catalog.sqlite3"; }
  std::filesystem::path repository_uuid() const { return own() / "repository.json"; }
  std::filesystem::path lock() const { return own() / "lock"; }
  std::filesystem::path manifests() const { return own() / "manifests"; }
  std::filesystem::path manifest(const std::string& image, VersionNumber number) const;
  std::filesystem::path facts(const std::string& image, VersionNumber number) const;
  std::filesystem::path pending_maps() const { return own() / "arriving"; }
  std::filesystem::path pending_map(const std::string& image, VersionNumber number) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace icbd::repository
