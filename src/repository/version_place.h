// What stands at the place of a version.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/base/uuid.h"
#include "icbd/catalog/catalog.h"

#include "layout.h"

namespace icbd::repository {

enum class PlaceState {
  good,           // a read-only subvolume with the version's UUID
  missing,        // nothing
  not_subvolume,  // a file or directory
  other,          // a subvolume with another UUID
  writable,       // the subvolume, but somebody may write to it
  unreadable,     // the kernel does not say
};

struct Place {
  PlaceState state = PlaceState::missing;
  unique_fd root;    // of good and writable ones
  std::string what;  // for messages: "is missing"; empty if it is good
};

// Never follows a symlink at the end of the path. With an id, a subvolume that has another one is
// another subvolume, whatever its UUID.
Place look_at(const std::filesystem::path& path, const Uuid& uuid,
              std::optional<SubvolumeId> id = {});

// Where a complete version is: within the repository, or where it was adopted.
std::filesystem::path path_of(const Layout& layout, const catalog::VersionFacts& facts,
                              const std::optional<catalog::AdoptedPlace>& place);
Place look_at(const Layout& layout, const catalog::Version& version);

// Anything at all, also a dangling symlink.
bool is_there(const std::filesystem::path& path);

}  // namespace icbd::repository
