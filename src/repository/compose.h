// Fills a draft with what is published.
//
// Order: subvolume, directory or disk; then the boot files and the disk that are copied in. A
// directory and a disk are brought over into a snapshot of the version before, so that what is the
// same stays shared with it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "icbd/repository/publish.h"

#include "publish_draft.h"
#include "publish_source.h"

namespace icbd::repository {

struct Composition {
  // Paths of what is marked, as it is really there.
  std::string boot_directory, target_file;
  std::vector<std::string> warnings;
  std::vector<std::string> notes;
};

// `parent`: the newest complete version, if there is one.
Result<Composition> compose(Repository& repository, const PublishRequest& request,
                            const PublishSource& source, const Marks& marks,
                            const std::optional<catalog::Version>& parent, Draft& draft,
                            PublishProgress& progress);

// Bytes that would have to be read, and what would be said; nothing is changed.
struct Estimate {
  std::uint64_t bytes_to_read = 0;
  std::vector<std::string> warnings;
};
Result<Estimate> estimate(Repository& repository, const PublishRequest& request,
                          const PublishSource& source, const Marks& marks,
                          const std::optional<catalog::Version>& parent);

}  // namespace icbd::repository
