#include "version_place.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

namespace icbd::repository {

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

std::filesystem::path path_of(const Layout& layout, const catalog::VersionFacts& facts,
                              const std::optional<catalog::AdoptedPlace>& place) {
  return place ? std::filesystem::path(place->path) : layout.version(facts.image, facts.number);
}

Place look_at(const Layout& layout, const catalog::Version& version) {
  const auto path = path_of(layout, version.facts, version.place);
  if (!version.place) return look_at(path, version.facts.uuid);
  return look_at(path, version.facts.uuid, version.place->subvolume);
}

Place look_at(const std::filesystem::path& path, const Uuid& uuid, std::optional<SubvolumeId> id) {
  if (!is_there(path)) return {.state = PlaceState::missing, .root = {}, .what = "is missing"};
  const auto cannot_tell = [](const Error& error) {
    return Place{.state = PlaceState::unreadable,
                 .root = {},
                 .what = "cannot be looked at: " + error.message()};
  };
  constexpr std::string_view no_subvolume = "is no subvolume";
  std::error_code ignored;
  if (!std::filesystem::is_directory(std::filesystem::symlink_status(path, ignored)))
    return {.state = PlaceState::not_subvolume, .root = {}, .what = std::string(no_subvolume)};
  const auto is_subvolume = btrfs::is_subvolume(path);
  if (!is_subvolume) return cannot_tell(is_subvolume.error());
  if (!*is_subvolume)
    return {.state = PlaceState::not_subvolume, .root = {}, .what = std::string(no_subvolume)};
  auto root = open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!root) return cannot_tell(root.error());
  const auto info = btrfs::subvolume_info(root->get());
  if (!info) return cannot_tell(info.error());
  if (info->identity() != uuid)
    return {.state = PlaceState::other,
            .root = {},
            .what = fmt::format("has the UUID {}, not {}", info->identity().to_string(),
                                uuid.to_string())};
  if (id && info->id != *id)
    return {.state = PlaceState::other,
            .root = {},
            .what = fmt::format("is the subvolume {}, not {}", info->id.value(), id->value())};
  if (!info->read_only)
    return {.state = PlaceState::writable,
            .root = std::move(*root),
            .what = "is writable: somebody may have changed it"};
  return {.state = PlaceState::good, .root = std::move(*root), .what = {}};
}

}  // namespace icbd::repository
