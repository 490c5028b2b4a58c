#include "take_back.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "icbd/catalog/names.h"
#include "icbd/manifest/page_store.h"

#include "content_check.h"
#include "directory_names.h"
#include "facts_file.h"
#include "remove.h"
#include "version_place.h"

namespace icbd::repository {
namespace {

using catalog::VersionFacts;
using catalog::VersionState;

// The facts of all versions that have some, as far as file and content agree on the name.
std::vector<KeptFacts> read_all_facts(const Layout& layout) {
  std::vector<KeptFacts> all;
  for (const std::string& image : names_in(layout.manifests()))
    for (const std::string& name : names_in(layout.manifests() / image)) {
      if (!name.ends_with(Layout::facts_suffix)) continue;
      auto kept = read_facts(layout.manifests() / image / name);
      if (kept && kept->facts.image == image &&
          layout.facts(image, kept->facts.number).filename() == name)
        all.push_back(std::move(*kept));
    }
  std::ranges::stable_sort(all, {}, [](const KeptFacts& kept) { return kept.facts.published; });
  return all;
}

std::string name_of(const VersionFacts& facts) {
  return fmt::format("{}@{}", facts.image, facts.number.value());
}

Finding unknown(const VersionFacts& facts, const std::filesystem::path& path) {
  return {.kind = FindingKind::unknown_version,
          .version = name_of(facts),
          .path = path,
          .what = fmt::format("{} was not in the catalog as complete", path.string())};
}

class TakeBack {
 public:
  TakeBack(const Layout& layout, catalog::Catalog& catalog, bool act)
      : layout_(layout), catalog_(catalog), act_(act) {}

  Result<std::vector<Finding>> run() {
    for (const KeptFacts& kept : read_all_facts(layout_)) ICBD_TRY(take(kept));
    if (act_) ICBD_TRY(reserve_numbers());
    return std::move(findings_);
  }

 private:
  Status take(const KeptFacts& kept) {
    const VersionFacts& facts = kept.facts;
    const auto path = path_of(layout_, facts, kept.place);
    catalog::Version version;
    version.facts = facts;
    version.place = kept.place;
    if (look_at(layout_, version).state != PlaceState::good) return {};
    const auto known = catalog_.version(facts.image, facts.number);
    if (known && known->state == VersionState::complete) return {};
    if (!known && known.error().code() != ErrorCode::not_found)
      return std::unexpected(known.error());
    Finding finding = unknown(facts, path);
    if (known && known->facts != facts) return {};  // another version's: recovery reports it
    if (!act_) {
      finding.action = "it is to be taken into the catalog";
      findings_.push_back(std::move(finding));
      return {};
    }
    const Status taken =
        known ? catalog_.set_state(known->serial, VersionState::complete) : add(kept);
    finding.settled = taken.has_value();
    finding.action = taken ? "taken into the catalog"
                           : fmt::format("it was not taken into the catalog, because {}",
                                         taken.error().message());
    findings_.push_back(std::move(finding));
    return {};
  }

  Status add(const KeptFacts& kept) {
    ICBD_TRY(catalog_.add_version(kept.facts, VersionState::complete, kept.place));
    return {};
  }

  Status reserve_numbers() {
    for (const std::string& image : names_in(layout_.directory())) {
      if (!catalog::check_image_name(image)) continue;
      for (const std::string& name : names_in(layout_.image(image)))
        if (const auto number = catalog::parse_version_number(name))
          ICBD_TRY(catalog_.reserve_number(image, *number));
    }
    return {};
  }

  const Layout& layout_;
  catalog::Catalog& catalog_;
  const bool act_;
  std::vector<Finding> findings_;
};

Status verify(const Layout& layout, const VersionFacts& facts, int root_fd) {
  ICBD_ASSIGN(const auto pages,
              manifest::FilePageStore::open_read_only(layout.manifest(facts.image, facts.number)));
  ICBD_TRY(check_manifest_pages(*pages, facts.manifest));
  ICBD_ASSIGN(const auto reader, manifest::Reader::open(*pages, facts.manifest));
  ICBD_ASSIGN(std::string differences, metadata_differences(root_fd, reader));
  std::atomic<std::uint64_t> total = 0, done = 0;
  if (differences.empty()) {
    ICBD_ASSIGN(differences, data_differences(root_fd, reader, {total, done}));
  }
  if (!differences.empty()) return fail(ErrorCode::corrupt, differences);
  return {};
}

}  // namespace

Result<std::vector<Finding>> take_back_versions(const Layout& layout, catalog::Catalog& catalog,
                                                bool act) {
  return TakeBack(layout, catalog, act).run();
}

std::vector<Finding> rename_verified_versions(const Layout& layout) {
  std::vector<Finding> findings;
  for (const auto& [facts, place] : read_all_facts(layout)) {
    if (place) continue;
    const auto path = layout.version(facts.image, facts.number);
    if (is_there(path)) continue;
    for (const auto& hidden : {layout.staging(facts.image, facts.number),
                               layout.publishing(facts.image, facts.number)}) {
      const Place found = look_at(hidden, facts.uuid);
      if (found.state != PlaceState::good) continue;
      Status renamed = verify(layout, facts, found.root.get());
      if (renamed) renamed = rename_new(hidden, path);
      findings.push_back(
          {.kind = FindingKind::not_renamed,
           .version = name_of(facts),
           .path = hidden,
           .what = "it was complete, but had its hidden name",
           .action = renamed
                         ? fmt::format("compared with its manifest, renamed to {}", path.string())
                         : fmt::format("it was not renamed: {}", renamed.error().message()),
           .settled = renamed.has_value()});
      break;
    }
  }
  return findings;
}

}  // namespace icbd::repository
