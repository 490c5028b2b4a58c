#include "recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>

#include "icbd/catalog/names.h"
#include "icbd/manifest/page_store.h"

#include "directory_names.h"
#include "facts_file.h"
#include "remove.h"
#include "version_place.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

bool is_arriving(const Version& version) {
  return version.state == VersionState::arriving && version.shaped;
}

std::string name_of(const Version& version) {
  return fmt::format("{}@{}", version.facts.image, version.facts.number.value());
}

FindingKind kind_of(PlaceState state) {
  switch (state) {
    case PlaceState::not_subvolume:
      return FindingKind::not_subvolume;
    case PlaceState::other:
      return FindingKind::other_subvolume;
    case PlaceState::writable:
      return FindingKind::writable;
    default:
      return FindingKind::version_missing;
  }
}

class Recovery {
 public:
  Recovery(const Layout& layout, catalog::Catalog& catalog, RecoveryOptions options)
      : layout_(layout), catalog_(catalog), options_(options) {}

  Result<std::vector<Finding>> run() {
    ICBD_ASSIGN(auto versions, catalog_.versions());
    for (const Version& version : versions)
      if (version.state == VersionState::arriving) ICBD_TRY(check_arriving(version));
    if (options_.act) {
      ICBD_ASSIGN(versions, catalog_.versions());
    }
    std::ranges::sort(versions, std::greater(),
                      [](const Version& version) { return version.facts.published; });
    for (const Version& version : versions)
      if (version.state == VersionState::complete) check_complete(version);
    for (Version& version : versions) {
      const auto key = std::pair(version.facts.image, version.facts.number);
      versions_.insert_or_assign(key, std::move(version));
    }
    for (const std::string& image : names_in(layout_.directory()))
      if (catalog::check_image_name(image)) sweep_image(image);
    for (const std::string& image : names_in(layout_.manifests())) sweep_manifests(image);
    for (const std::string& image : names_in(layout_.pending_maps())) sweep_pending_maps(image);
    return std::move(findings_);
  }

 private:
  const Version* find(const std::string& image, std::string_view number) const {
    const auto parsed = catalog::parse_version_number(number);
    if (!parsed) return nullptr;
    const auto found = versions_.find({image, *parsed});
    return found == versions_.end() ? nullptr : &found->second;
  }

  // Something that a person has to look at.
  void leave(Finding finding, std::string action) {
    finding.action = std::move(action);
    findings_.push_back(std::move(finding));
  }

  // Something that is put right by `act`, unless nothing is to be changed. `done` is what has
  // happened to it then: "removed".
  void settle(Finding finding, std::string_view done, const std::function<Status()>& act) {
    if (!options_.act) return leave(std::move(finding), fmt::format("it is to be {}", done));
    if (const Status acted = act(); !acted)
      return leave(std::move(finding),
                   fmt::format("it could not be {}: {}", done, acted.error().message()));
    finding.settled = true;
    finding.action = done;
    findings_.push_back(std::move(finding));
  }

  // An error only if the catalog cannot be written.
  Status check_arriving(const Version& version) {
    const auto& facts = version.facts;
    const auto staging = layout_.staging(facts.image, facts.number);
    const PlaceState place = look_at(staging, facts.uuid).state;
    std::string what;
    if (!version.shaped)
      what = "its shape was not whole";
    else if (place == PlaceState::missing)
      what = "its staging subvolume is missing";
    else if (place == PlaceState::not_subvolume)
      what = "its staging is no subvolume";
    else if (!is_there(layout_.manifest(facts.image, facts.number)))
      what = "its manifest is missing";
    else
      return {};
    Status cleared;
    settle({.kind = FindingKind::arrival_lost,
            .version = name_of(version),
            .path = staging,
            .what = what},
           "made remote again, to arrive anew", [&] {
             cleared = catalog_.clear_arrival(version.serial);
             return cleared;
           });
    return cleared;
  }

  void check_complete(const Version& version) {
    const auto& facts = version.facts;
    const auto path = path_of(layout_, facts, version.place);
    const Place place = look_at(layout_, version);
    if (place.state == PlaceState::missing)
      check_missing(version, path);
    else if (place.state != PlaceState::good)
      leave({.kind = kind_of(place.state),
             .version = name_of(version),
             .path = path,
             .what = fmt::format("{} {}", path.string(), place.what)},
            "it is not served; run icbd fsck");
    check_facts(version);
    check_manifest(version);
  }

  // A complete version that the node stopped just before renaming, or one that is gone.
  void check_missing(const Version& version, const std::filesystem::path& path) {
    const auto& facts = version.facts;
    std::string others;
    std::vector<std::filesystem::path> names;
    if (!version.place)
      names = {layout_.staging(facts.image, facts.number),
               layout_.publishing(facts.image, facts.number)};
    for (const auto& hidden : names) {
      const Place place = look_at(hidden, facts.uuid);
      if (place.state == PlaceState::good)
        return settle({.kind = FindingKind::not_renamed,
                       .version = name_of(version),
                       .path = hidden,
                       .what = "it was complete, but had its hidden name"},
                      fmt::format("renamed to {}", path.string()),
                      [&] { return rename_new(hidden, path); });
      if (place.state != PlaceState::missing)
        others += fmt::format("; {} {}", hidden.string(), place.what);
    }
    leave({.kind = FindingKind::version_missing,
           .version = name_of(version),
           .path = path,
           .what = fmt::format("it is complete in the catalog, but {} is missing{}", path.string(),
                               others)},
          "bring it back from a backup, or run icbd fsck --repair, which lets a cache fetch it "
          "again");
  }

  // Versions of releases that wrote none, or a file that is damaged: the catalog knows it all.
  void check_facts(const Version& version) {
    const auto file = layout_.facts(version.facts.image, version.facts.number);
    const KeptFacts kept{.facts = version.facts, .place = version.place};
    if (const auto facts = read_facts(file); facts && *facts == kept) return;
    settle({.kind = FindingKind::facts_missing,
            .version = name_of(version),
            .path = file,
            .what = "what a lost catalog would be rebuilt from was missing or wrong"},
           "written", [&] { return write_facts(file, kept); });
  }

  void check_manifest(const Version& version) {
    const auto& facts = version.facts;
    const auto file = layout_.manifest(facts.image, facts.number);
    Finding finding{.kind = FindingKind::manifest_missing,
                    .version = name_of(version),
                    .path = file,
                    .what = fmt::format("its manifest {} is missing", file.string())};
    constexpr const char* action = "caches cannot fetch it; run icbd fsck --repair";
    std::error_code error;
    const std::uint64_t size = std::filesystem::file_size(file, error);
    if (error) return leave(std::move(finding), action);
    if (size > options_.manifest_bytes_max) return;
    options_.manifest_bytes_max -= size;
    const auto pages = manifest::FilePageStore::open_read_only(file);
    if (pages && (*pages)->contains(facts.manifest)) return;
    finding.kind = FindingKind::manifest_damaged;
    finding.what = pages ? fmt::format("its manifest {} does not have the root {}", file.string(),
                                       facts.manifest.to_string())
                         : pages.error().message();
    leave(std::move(finding), action);
  }

  void sweep_image(const std::string& image) {
    for (const std::string& name : names_in(layout_.image(image))) {
      const auto path = layout_.image(image) / name;
      const std::string_view text = name;
      if (text.starts_with(Layout::publishing_prefix))
        sweep_hidden(image, text.substr(Layout::publishing_prefix.size()), path, false);
      else if (text.starts_with(Layout::arriving_prefix))
        sweep_hidden(image, text.substr(Layout::arriving_prefix.size()), path, true);
      else if (catalog::parse_version_number(name))
        sweep_number(image, name, path);
    }
  }

  void sweep_number(const std::string& image, const std::string& number,
                    const std::filesystem::path& path) {
    const Version* version = find(image, number);
    if (version && version->state == VersionState::complete && !version->place) return;
    const std::string what = version
                                 ? fmt::format("{} is here, but the catalog calls the version {}",
                                               path.string(), to_string(version->state))
                                 : fmt::format("{} is not in the catalog", path.string());
    leave({.kind = FindingKind::unknown_version,
           .version = fmt::format("{}@{}", image, number),
           .path = path,
           .what = what},
          version ? "it is left alone, but is in the version's way: move it away"
                  : "it is left alone");
  }

  // A complete version that is not in its place may be this one: the bytes are all there is of it.
  bool is_only_copy(const Version& version, const std::filesystem::path& hidden) const {
    if (version.state != VersionState::complete || version.place) return false;
    const auto place = look_at(layout_, version).state;
    if (place == PlaceState::good) return false;
    return place == PlaceState::missing ||
           look_at(hidden, version.facts.uuid).state == PlaceState::good;
  }

  void sweep_hidden(const std::string& image, std::string_view number,
                    const std::filesystem::path& path, bool arriving) {
    const Version* version = find(image, number);
    if (version && ((arriving && is_arriving(*version)) || is_only_copy(*version, path))) return;
    settle({.kind = FindingKind::unfinished,
            .version = fmt::format("{}@{}", image, number),
            .path = path,
            .what = fmt::format("{} was never finished", path.string())},
           "removed", [&] { return remove_subvolume(path); });
  }

  void remove_leftover(FindingKind kind, const std::filesystem::path& path) {
    settle({.kind = kind,
            .version = {},
            .path = path,
            .what = fmt::format("{} belongs to no version that is here", path.string())},
           "removed", [&] { return remove_file(path); });
  }

  // Those of a subvolume that the catalog does not know stay with it: with them it can be brought
  // back into the catalog.
  void sweep_manifests(const std::string& image) {
    for (const std::string& name : names_in(layout_.manifests() / image)) {
      const bool facts = name.ends_with(Layout::facts_suffix);
      const std::string number =
          facts ? name.substr(0, name.size() - Layout::facts_suffix.size()) : name;
      const Version* version = find(image, number);
      const bool wanted = version != nullptr && (version->state == VersionState::complete ||
                                                 (is_arriving(*version) && !facts));
      if (!wanted && (version || !is_on_disk(image, number)))
        remove_leftover(facts ? FindingKind::leftover_facts : FindingKind::leftover_manifest,
                        layout_.manifests() / image / name);
    }
  }

  // A version that the catalog does not know, in its place or where it was adopted.
  bool is_on_disk(const std::string& image, const std::string& name) const {
    const auto number = catalog::parse_version_number(name);
    if (!number) return false;
    if (is_there(layout_.version(image, *number))) return true;
    const auto kept = read_facts(layout_.facts(image, *number));
    if (!kept) return false;
    const std::optional<catalog::AdoptedPlace>& place = kept->place;
    return place &&
           look_at(place->path, kept->facts.uuid, place->subvolume).state == PlaceState::good;
  }

  void sweep_pending_maps(const std::string& image) {
    for (const std::string& name : names_in(layout_.pending_maps() / image)) {
      const Version* version = find(image, name);
      if (!version || !is_arriving(*version))
        remove_leftover(FindingKind::leftover_pending_map, layout_.pending_maps() / image / name);
    }
  }

  const Layout& layout_;
  catalog::Catalog& catalog_;
  RecoveryOptions options_;
  std::map<std::pair<std::string, VersionNumber>, Version> versions_;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> recover(const Layout& layout, catalog::Catalog& catalog,
                                     RecoveryOptions options) {
  return Recovery(layout, catalog, options).run();
}

void log_findings(const Logger& logger, const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    auto level = spdlog::level::err;
    if (finding.kind == FindingKind::unknown_version) level = spdlog::level::warn;  // by people
    if (finding.settled) level = spdlog::level::info;
    logger->log(level, "{}", describe(finding));
  }
}

bool holds_versions(const Layout& layout) {
  for (const std::string& image : names_in(layout.directory())) {
    if (!catalog::check_image_name(image)) continue;
    for (const std::string& name : names_in(layout.image(image)))
      if (catalog::parse_version_number(name) || name.starts_with('.')) return true;
  }
  return std::ranges::any_of(names_in(layout.manifests()), [&](const std::string& image) {
    return !names_in(layout.manifests() / image).empty();
  });
}

}  // namespace icbd::repository
