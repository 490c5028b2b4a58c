#include "recovery.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/catalog/names.h"

#include "remove.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;

// The names in a directory; none if it is not there.
std::vector<std::string> names_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename().string());
  return names;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

bool is_arriving(const Version& version) {
  return version.state == VersionState::arriving && version.shaped;
}

class Recovery {
 public:
  Recovery(const Layout& layout, catalog::Catalog& catalog, const Logger& logger)
      : layout_(layout), catalog_(catalog), logger_(logger) {}

  Status run() {
    ICBD_ASSIGN(const auto versions, catalog_.versions());
    for (const Version& version : versions) ICBD_TRY(reconcile(version));
    ICBD_TRY(load_versions());
    for (const std::string& image : names_in(layout_.directory()))
      if (catalog::check_image_name(image)) sweep_image(image);
    sweep_files(layout_.manifests(), "manifest", [](const Version& version) {
      return version.state == VersionState::complete || is_arriving(version);
    });
    sweep_files(layout_.pending_maps(), "pending map", is_arriving);
    return {};
  }

 private:
  Status load_versions() {
    ICBD_ASSIGN(auto versions, catalog_.versions());
    for (Version& version : versions) {
      const auto key = std::pair(version.facts.image, version.facts.number);
      versions_.insert_or_assign(key, std::move(version));
    }
    return {};
  }

  const Version* find(const std::string& image, std::string_view number) const {
    const auto parsed = catalog::parse_version_number(number);
    if (!parsed) return nullptr;
    const auto found = versions_.find({image, *parsed});
    return found == versions_.end() ? nullptr : &found->second;
  }

  Status reconcile(const Version& version) {
    if (version.state == VersionState::complete) rename_if_needed(version);
    if (version.state != VersionState::arriving) return {};
    const auto& [image, number] = std::tie(version.facts.image, version.facts.number);
    if (version.shaped && is_there(layout_.staging(image, number))) return {};
    logger_->warn("{}@{} arrives anew: {}", image, number.value(),
                  version.shaped ? "its staging subvolume is missing" : "its shape was not whole");
    return catalog_.clear_arrival(version.serial);
  }

  // A complete version that the node stopped just before renaming.
  void rename_if_needed(const Version& version) {
    const auto& [image, number] = std::tie(version.facts.image, version.facts.number);
    const auto target = layout_.version(image, number);
    if (is_there(target)) return;
    for (const auto& hidden : {layout_.staging(image, number), layout_.publishing(image, number)}) {
      if (!is_there(hidden)) continue;
      if (const Status renamed = rename_version(hidden, version); !renamed)
        logger_->error("{}@{} could not be put in its place: {}", image, number.value(),
                       renamed.error().message());
      else
        logger_->info("{}@{} was complete: renamed {}", image, number.value(), hidden.string());
      return;
    }
    logger_->error("{}@{} is complete in the catalog, but {} is missing: restore or evict it",
                   image, number.value(), target.string());
  }

  Status rename_version(const std::filesystem::path& hidden, const Version& version) {
    ICBD_ASSIGN(const unique_fd root, open_file(hidden, O_RDONLY | O_DIRECTORY));
    ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root.get()));
    if (info.identity() != version.facts.uuid)
      return fail(ErrorCode::corrupt,
                  fmt::format("{} has the UUID {}, the catalog says {}", hidden.string(),
                              info.identity().to_string(), version.facts.uuid.to_string()));
    return rename_new(hidden, layout_.version(version.facts.image, version.facts.number));
  }

  void sweep_image(const std::string& image) {
    for (const std::string& name : names_in(layout_.image(image))) {
      const auto path = layout_.image(image) / name;
      const std::string_view text = name;
      if (text.starts_with(Layout::publishing_prefix))
        remove_if(!is_waiting(image, text.substr(Layout::publishing_prefix.size())), path);
      else if (text.starts_with(Layout::arriving_prefix))
        remove_if(!is_needed(image, text.substr(Layout::arriving_prefix.size())), path);
      else if (catalog::parse_version_number(name) && !is_complete(image, name))
        logger_->warn("{} is not in the catalog; it is left alone", path.string());
    }
  }

  bool is_complete(const std::string& image, std::string_view number) const {
    const Version* version = find(image, number);
    return version && version->state == VersionState::complete;
  }

  // Complete but not in its place: its renaming has failed, and the bytes are all there is of it.
  bool is_waiting(const std::string& image, std::string_view number) const {
    return is_complete(image, number) && !is_there(layout_.image(image) / number);
  }

  bool is_needed(const std::string& image, std::string_view number) const {
    const Version* version = find(image, number);
    return version && (is_arriving(*version) || is_waiting(image, number));
  }

  void remove_if(bool unwanted, const std::filesystem::path& subvolume) {
    if (!unwanted) return;
    report("unfinished subvolume", subvolume, remove_subvolume(subvolume));
  }

  template <typename Wanted>
  void sweep_files(const std::filesystem::path& directory, std::string_view what, Wanted wanted) {
    for (const std::string& image : names_in(directory)) {
      for (const std::string& name : names_in(directory / image)) {
        const Version* version = find(image, name);
        if (version && wanted(*version)) continue;
        const auto path = directory / image / name;
        report(what, path, remove_file(path));
      }
    }
  }

  void report(std::string_view what, const std::filesystem::path& path, const Status& removed) {
    if (removed)
      logger_->info("removed the {} {}", what, path.string());
    else
      logger_->error("could not remove the {}: {}", what, removed.error().message());
  }

  const Layout& layout_;
  catalog::Catalog& catalog_;
  const Logger& logger_;
  std::map<std::pair<std::string, VersionNumber>, Version> versions_;
};

}  // namespace

Status recover(const Layout& layout, catalog::Catalog& catalog, const Logger& logger) {
  return Recovery(layout, catalog, logger).run();
}

}  // namespace icbd::repository
