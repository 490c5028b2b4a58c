// Which snapshots of an image are to come here, and against what. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "icbd/catalog/catalog.h"

#include "snapshots.h"

namespace icbd::pull {

struct Choice {
  std::vector<Snapshot> newer;      // than all that is here, the oldest first
  std::vector<Snapshot> wanted;     // of them, and of versions that were dropped
  std::vector<VersionNumber> gone;  // here, and not there any more
};

// `there`: in the order in which they were made. `here`: the versions of the image, by number.
// Wanted are the newest ones that the subscription says, as far as they are newer than what is here
// or are versions that were dropped, and dropped ones that somebody has pulled; oldest first.
// What is newer is told by the order there, from the newest that is known here on; if none of them
// is there any more, by the time at which they were made.
Choice choose(const std::vector<Snapshot>& there, const std::vector<catalog::Version>& here,
              const std::optional<catalog::Subscription>& subscription);

// The snapshot that is here too, comes from the same line, and is nearest to it: older ones first.
const Snapshot* choose_parent(const Snapshot& snapshot, const std::vector<Snapshot>& there,
                              const std::vector<catalog::Version>& here);

}  // namespace icbd::pull
