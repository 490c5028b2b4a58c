// One snapshot on its way: sent there, received here, made a version.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "icbd/applier/applier.h"
#include "icbd/base/rate_limit.h"
#include "icbd/repository/incoming.h"

#include "remote_machine.h"

namespace icbd::pull {

struct TransferRequest {
  std::string image;
  Snapshot snapshot;
  std::optional<Snapshot> parent;  // none: all of it is sent
  VersionNumber parent_number;     // of the version that the parent is here
  std::string from;                // for the version's message
  bool packed = false;             // the machine can send extents as they lie on its disk
  applier::Policy policy;
  std::uint64_t space_reserve = 0;
};

// Counts while it goes on; read by others.
struct TransferProgress {
  std::atomic<std::uint32_t> number = 0;  // of the version; 0 before it is known
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<Clock::TimePoint> last_byte = Clock::TimePoint();
  std::atomic<bool> received = false;      // all of it; its manifest is computed
  repository::PublishProgress publishing;  // `cancelled` ends the whole transfer
};

// Returns when the version is complete and durable. Whatever fails leaves nothing behind.
Result<repository::PublishReport> transfer(repository::Repository& repository,
                                           const RemoteMachine& machine,
                                           const TransferRequest& request, const Clock& clock,
                                           RateLimit& bandwidth, TransferProgress& progress);

}  // namespace icbd::pull
