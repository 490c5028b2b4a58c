#include "icbd/repository/adopt.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "facts_file.h"
#include "filesystem_type.h"
#include "layout.h"
#include "manifest_build.h"
#include "previous_version.h"
#include "remove.h"
#include "version_place.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

std::unexpected<Error> refuse(ErrorCode code, const std::filesystem::path& path,
                              std::string_view why) {
  return fail(code, fmt::format("cannot adopt {}: {}", path.string(), why));
}

bool is_within(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [end, rest] = std::ranges::mismatch(directory, path);
  return end == directory.end();
}

// The subvolume itself: what was named, or what snapper put below it.
Result<std::filesystem::path> find_snapshot(const std::filesystem::path& named) {
  if (!named.is_absolute())
    return refuse(ErrorCode::invalid_argument, named, "the path has to be absolute");
  std::error_code error;
  const auto path = std::filesystem::canonical(named, error);
  if (error) return fail_errno(fmt::format("cannot adopt {}", named.string()), error.value());
  ICBD_ASSIGN(const bool on_btrfs, btrfs::is_btrfs(path));
  if (!on_btrfs)
    return refuse(ErrorCode::invalid_argument, named,
                  fmt::format("it is on {}, not on BTRFS", filesystem_type(path)));
  for (const auto& candidate : {path, path / "snapshot"}) {
    if (std::filesystem::is_symlink(candidate, error) || !is_there(candidate)) continue;
    ICBD_ASSIGN(const bool is_subvolume, btrfs::is_subvolume(candidate));
    if (is_subvolume) return candidate;
  }
  return refuse(ErrorCode::invalid_argument, named, "it is not the root of a subvolume");
}

Result<AdoptionCandidate> look_closer(const Repository& repository,
                                      const std::filesystem::path& path) {
  ICBD_ASSIGN(const unique_fd root, open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ICBD_ASSIGN(const Uuid filesystem, btrfs::filesystem_uuid(root.get()));
  ICBD_ASSIGN(const Uuid own_filesystem, btrfs::filesystem_uuid(repository.directory_fd()));
  if (filesystem != own_filesystem)
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("it is on another filesystem than the repository {}; bring it there "
                              "with btrfs send and receive, or publish it there",
                              repository.directory().string()));
  if (is_within(path, repository.directory()))
    return refuse(ErrorCode::invalid_argument, path,
                  fmt::format("it is inside the repository {}", repository.directory().string()));
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root.get()));
  if (!info.read_only)
    return refuse(ErrorCode::invalid_argument, path,
                  "it is writable, and a version never changes: adopt a read-only snapshot of it, "
                  "or publish it");
  return AdoptionCandidate{
      .path = path, .subvolume = info.id, .uuid = info.identity(), .created = info.created};
}

// Neither another candidate nor a version of the catalog, whether adopted or on its way.
Status check_identities(Repository& repository, const std::vector<AdoptionCandidate>& candidates) {
  std::map<Uuid, std::string> known;
  ICBD_ASSIGN(const auto versions, repository.catalog().versions());
  for (const Version& version : versions)
    known.emplace(version.facts.uuid,
                  fmt::format("{}@{}", version.facts.image, version.facts.number.value()));
  ICBD_ASSIGN(const auto waiting, repository.catalog().adoptions());
  for (const catalog::Adoption& adoption : waiting)
    known.emplace(adoption.uuid,
                  fmt::format("{}, which is being adopted already", adoption.place.path));
  for (const AdoptionCandidate& candidate : candidates) {
    const auto [other, is_new] = known.emplace(candidate.uuid, candidate.path.string());
    if (!is_new)
      return refuse(ErrorCode::already_exists, candidate.path,
                    fmt::format("it has the same identity (UUID {}) as {}; two versions never have "
                                "one identity",
                                candidate.uuid.to_string(), other->second));
  }
  return {};
}

Status check_nesting(const std::vector<AdoptionCandidate>& candidates) {
  for (const AdoptionCandidate& inner : candidates)
    for (const AdoptionCandidate& outer : candidates)
      if (&inner != &outer && inner.path != outer.path && is_within(inner.path, outer.path))
        return refuse(ErrorCode::invalid_argument, inner.path,
                      fmt::format("it is inside {}", outer.path.string()));
  return {};
}

catalog::VersionFacts facts_of(const catalog::Adoption& adoption, VersionNumber number,
                               const BuiltManifest& built, const btrfs::SubvolumeInfo& info) {
  catalog::VersionFacts facts = facts_from(built, info);
  facts.image = adoption.image;
  facts.number = number;
  facts.message = "adopted from " + adoption.place.path;
  facts.message.resize(std::min(facts.message.size(), limits::message_length));
  facts.published = info.created;
  return facts;
}

// It is a version already if the last run was stopped after the catalog's commit.
Result<std::optional<Version>> find_adopted(Repository& repository,
                                            const catalog::Adoption& adoption) {
  ICBD_ASSIGN(const auto versions, repository.catalog().versions(adoption.image));
  const auto found = std::ranges::find_if(versions, [&](const Version& version) {
    return version.facts.uuid == adoption.uuid && version.place == adoption.place;
  });
  if (found == versions.end()) return std::nullopt;
  return *found;
}

Result<PublishReport> make_version(Repository& repository, const catalog::Adoption& adoption,
                                   VersionNumber number, int root_fd, PublishProgress& progress) {
  ICBD_ASSIGN(const auto parent, newest_complete(repository, adoption.image));
  ICBD_ASSIGN(const auto pages, repository.pages(adoption.image, number, true));
  ICBD_ASSIGN(auto built, build_next_manifest(repository, root_fd, parent, *pages, progress));
  ICBD_TRY(pages->sync());
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root_fd));
  auto facts = facts_of(adoption, number, built, info);
  if (parent) facts.parent = parent->facts.number;
  // Somebody else made the snapshot: it need not be on the disk yet.
  ICBD_TRY(btrfs::sync_filesystem(root_fd));
  ICBD_TRY(write_facts(Layout(repository.directory()).facts(adoption.image, number),
                       {.facts = facts, .place = adoption.place}));
  ICBD_ASSIGN(const VersionSerial serial,
              repository.catalog().add_version(facts, VersionState::complete, adoption.place));
  ICBD_ASSIGN(auto version, repository.catalog().version(serial));
  return report_of(std::move(built), std::move(version));
}

}  // namespace

Result<std::vector<AdoptionCandidate>> plan_adoption(Repository& repository,
                                                     const AdoptionRequest& request) {
  ICBD_TRY(catalog::check_image_name(request.image));
  if (request.paths.empty())
    return fail(ErrorCode::invalid_argument, "no snapshots were named to be adopted");
  std::vector<AdoptionCandidate> candidates;
  for (const auto& path : request.paths) {
    ICBD_ASSIGN(const auto snapshot, find_snapshot(path));
    ICBD_ASSIGN(auto candidate, look_closer(repository, snapshot));
    candidates.push_back(std::move(candidate));
  }
  ICBD_TRY(check_nesting(candidates));
  ICBD_TRY(check_identities(repository, candidates));
  if (!request.keep_order) std::ranges::stable_sort(candidates, {}, &AdoptionCandidate::created);
  return candidates;
}

Result<PublishReport> adopt(Repository& repository, const catalog::Adoption& adoption,
                            PublishProgress& progress) {
  const auto publishing = repository.lock_publishing();
  ICBD_ASSIGN(auto adopted, find_adopted(repository, adoption));
  if (adopted)
    return PublishReport{
        .version = std::move(*adopted), .bytes_hashed = 0, .bytes_inherited = 0, .warnings = {}};
  const Place place = look_at(adoption.place.path, adoption.uuid, adoption.place.subvolume);
  if (place.state != PlaceState::good)
    return refuse(ErrorCode::corrupt, adoption.place.path, fmt::format("it {}", place.what));
  ICBD_ASSIGN(const VersionNumber number, repository.catalog().next_number(adoption.image));
  const auto manifest = repository.manifest_path(adoption.image, number);
  ICBD_TRY(remove_file(manifest));
  auto report = make_version(repository, adoption, number, place.root.get(), progress);
  if (report) {
    repository.logger()->info("adopted {} as {}@{}: {} bytes read, {} taken over",
                              adoption.place.path, adoption.image, number.value(),
                              report->bytes_hashed, report->bytes_inherited);
    return report;
  }
  // Once the catalog has it, it is a version.
  if (repository.catalog().version(adoption.image, number)) return report;
  for (const auto& file : {Layout(repository.directory()).facts(adoption.image, number), manifest})
    if (const Status removed = remove_file(file); !removed)
      repository.logger()->error("after a failed adoption: {}", removed.error().message());
  return report;
}

}  // namespace icbd::repository
