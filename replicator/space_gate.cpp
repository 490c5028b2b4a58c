#include "icbd/replicator/space_gate.h"

namespace icbd::replicator {

Status SpaceGate::check(std::uint64_t bytes) const {
  return btrfs::check_room(directory_fd_, bytes, reserve_);
}

}  // namespace icbd::replicator
