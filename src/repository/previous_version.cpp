#include "previous_version.h"

namespace icbd::repository {

using catalog::Version;
using catalog::VersionState;

namespace {

struct Previous {
  unique_fd root;
  PreviousVersion version;
};

Result<Previous> open_previous(Repository& repository, const catalog::VersionFacts& facts) {
  Previous previous;
  ICBD_ASSIGN(previous.root, repository.open_version(facts.image, facts.number));
  ICBD_ASSIGN(previous.version.pages, repository.pages(facts.image, facts.number));
  previous.version.root_fd = previous.root.get();
  previous.version.manifest = facts.manifest;
  return previous;
}

}  // namespace

Result<std::optional<Version>> newest_complete(Repository& repository, const std::string& image) {
  ICBD_ASSIGN(const auto versions, repository.catalog().versions(image));
  std::optional<Version> newest;
  for (const Version& version : versions)
    if (version.state == VersionState::complete &&
        (!newest || newest->facts.number < version.facts.number))
      newest = version;
  return newest;
}

Result<BuiltManifest> build_next_manifest(Repository& repository, int root_fd,
                                          const std::optional<Version>& parent,
                                          manifest::PageStore& pages, PublishProgress& progress) {
  const Logger& logger = repository.logger();
  if (!parent) return build_manifest(root_fd, nullptr, pages, progress, logger);
  const auto previous = open_previous(repository, parent->facts);
  if (!previous)
    logger->warn("the previous version cannot be read: {}", previous.error().message());
  return build_manifest(root_fd, previous ? &previous->version : nullptr, pages, progress, logger);
}

}  // namespace icbd::repository
