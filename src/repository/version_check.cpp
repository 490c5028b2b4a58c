#include "version_check.h"

#include <fmt/format.h>

#include <string>

#include "icbd/base/clock.h"
#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/manifest/page_store.h"

#include "content_check.h"
#include "manifest_build.h"
#include "remove.h"
#include "version_place.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

FindingKind kind_of(PlaceState state) {
  switch (state) {
    case PlaceState::not_subvolume:
      return FindingKind::not_subvolume;
    case PlaceState::other:
    case PlaceState::unreadable:
      return FindingKind::other_subvolume;
    case PlaceState::writable:
      return FindingKind::writable;
    default:
      return FindingKind::version_missing;
  }
}

class Checker {
 public:
  Checker(const VersionCheck& check, const Version& version, std::vector<Finding>& findings)
      : check_(check),
        version_(version),
        facts_(version.facts),
        path_(path_of(check.layout, facts_, version.place)),
        manifest_(check.layout.manifest(facts_.image, facts_.number)),
        findings_(findings) {}

  Status run() {
    const Place place = look_at(check_.layout, version_);
    if (place.state != PlaceState::good && place.state != PlaceState::writable)
      return give_up(kind_of(place.state), fmt::format("{} {}", path_.string(), place.what));
    if (const Status intact = check_manifest(); !intact)
      return repair_manifest(place, intact.error());
    ICBD_ASSIGN(const auto pages, manifest::FilePageStore::open_read_only(manifest_));
    ICBD_ASSIGN(const auto reader, manifest::Reader::open(*pages, facts_.manifest));
    return check_content(place, reader);
  }

 private:
  bool repair() const { return check_.options.repair; }
  bool is_cache() const { return check_.options.role == Role::cache; }

  void add(FindingKind kind, std::string what, std::string action, bool settled) {
    findings_.push_back({.kind = kind,
                         .version = fmt::format("{}@{}", facts_.image, facts_.number.value()),
                         .path = path_,
                         .what = std::move(what),
                         .action = std::move(action),
                         .settled = settled});
  }

  // The version as such is lost here.
  Status give_up(FindingKind kind, std::string what) {
    if (!is_cache() || version_.place) {
      add(kind, std::move(what),
          "there may be no other copy, so nothing is changed: bring it back from a backup or from "
          "a cache, or publish its content again",
          false);
      return {};
    }
    if (!repair()) {
      add(kind, std::move(what), "--repair makes it remote, to be fetched again", false);
      return {};
    }
    ICBD_ASSIGN(const auto aside, quarantine());
    ICBD_TRY(check_.catalog.set_state(version_.serial, VersionState::remote));
    for (const auto& file : {check_.layout.facts(facts_.image, facts_.number), manifest_})
      ICBD_TRY(remove_file(file));
    add(kind, std::move(what),
        fmt::format("made remote, to be fetched again{}",
                    aside.empty() ? "" : fmt::format("; what was there is now {}", aside.string())),
        true);
    return {};
  }

  // Before the catalog forgets it: a kill in between leaves a complete version that is missing,
  // which the next run makes remote. A read-only subvolume can be renamed within its directory.
  Result<std::filesystem::path> quarantine() const {
    if (!is_there(path_)) return std::filesystem::path();
    auto aside = check_.layout.image(facts_.image) /
                 fmt::format("{}{}-{}", Layout::quarantined_prefix, facts_.number.value(),
                             format_utc(SystemClock().wall()));
    ICBD_TRY(rename_new(path_, aside));
    return aside;
  }

  Status check_manifest() const {
    ICBD_ASSIGN(const auto pages, manifest::FilePageStore::open_read_only(manifest_));
    return check_manifest_pages(*pages, facts_.manifest);
  }

  // A manifest says nothing that the version's bytes do not say: it is built again, and is right
  // if its digest is.
  Status repair_manifest(const Place& place, const Error& reason) {
    const auto kind =
        is_there(manifest_) ? FindingKind::manifest_damaged : FindingKind::manifest_missing;
    std::string what = fmt::format("its manifest cannot be used ({})", reason.message());
    if (!repair()) {
      add(kind, std::move(what), "--repair builds it again from the version's bytes", false);
      return {};
    }
    const std::filesystem::path rebuilt = manifest_.string() + ".rebuilt";
    ICBD_TRY(remove_file(rebuilt));
    const auto digest = build(place, rebuilt);
    if (!digest || *digest != facts_.manifest) {
      ICBD_TRY(remove_file(rebuilt));
      return give_up(
          FindingKind::data_damaged,
          what + (digest ? ", and its bytes are not those of the version"
                         : ", and its bytes cannot be read: " + digest.error().message()));
    }
    ICBD_TRY(replace(rebuilt));
    add(kind, std::move(what), "built again from the version's bytes, with the right digest", true);
    return place.state == PlaceState::writable ? seal(place) : Status();
  }

  Result<Digest> build(const Place& place, const std::filesystem::path& file) const {
    ICBD_ASSIGN(const auto pages, manifest::FilePageStore::open(file, true));
    PublishProgress progress;
    ICBD_ASSIGN(const auto built,
                build_manifest(place.root.get(), nullptr, *pages, progress, make_silent_logger()));
    ICBD_TRY(pages->sync());
    return built.digest;
  }

  Status replace(const std::filesystem::path& rebuilt) const {
    std::error_code error;
    std::filesystem::rename(rebuilt, manifest_, error);
    if (error)
      return fail_errno(fmt::format("rename {} to {}", rebuilt.string(), manifest_.string()),
                        error.value());
    return sync_directory(manifest_.parent_path());
  }

  Status check_content(const Place& place, const manifest::Reader& reader) {
    const bool writable = place.state == PlaceState::writable;
    ICBD_ASSIGN(std::string differences, metadata_differences(place.root.get(), reader));
    if (!differences.empty())
      return give_up(FindingKind::metadata_damaged, "its metadata is damaged: " + differences);
    if (check_.options.data || (writable && repair())) {
      ICBD_ASSIGN(differences, check_data(place, reader));
      if (!differences.empty())
        return give_up(FindingKind::data_damaged, "its data is damaged: " + differences);
    }
    return writable ? seal(place) : Status();
  }

  Result<std::string> check_data(const Place& place, const manifest::Reader& reader) const {
    FsckProgress& progress = check_.progress;
    progress.bytes_done = 0;
    return data_differences(place.root.get(), reader, {progress.bytes_total, progress.bytes_done});
  }

  // Its content has just been found to be right.
  Status seal(const Place& place) {
    std::string what = fmt::format("{} was writable", path_.string());
    if (!repair()) {
      add(FindingKind::writable, std::move(what),
          "--repair compares its data with the manifest and makes it read-only", false);
      return {};
    }
    ICBD_TRY(btrfs::set_read_only(place.root.get(), true));
    ICBD_TRY(btrfs::sync_filesystem(place.root.get()));
    add(FindingKind::writable, std::move(what),
        "compared with its manifest and made read-only again", true);
    return {};
  }

  const VersionCheck& check_;
  const Version& version_;
  const catalog::VersionFacts& facts_;
  const std::filesystem::path path_;
  const std::filesystem::path manifest_;
  std::vector<Finding>& findings_;
};

}  // namespace

Status check_version(const VersionCheck& check, const Version& version,
                     std::vector<Finding>& findings) {
  return Checker(check, version, findings).run();
}

}  // namespace icbd::repository
