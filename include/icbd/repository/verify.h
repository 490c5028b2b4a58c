// Reading a complete version again, and holding it against its manifest.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "icbd/repository/repository.h"

namespace icbd::repository {

// Counts while verifying; read by others. Holes count too, so that both end up equal.
struct VerifyProgress {
  std::atomic<std::uint64_t> bytes_total = 0;
  std::atomic<std::uint64_t> bytes_done = 0;
  std::atomic<bool> cancelled = false;  // set by whoever does not want it any more
};

struct VerifyReport {
  std::uint64_t bytes = 0;            // of files, holes included
  std::vector<std::string> problems;  // what differs, in words; empty: all of it is right
};

// Every page of the manifest, every name and every byte. An error if it could not be looked at; not
// complete ones are invalid_argument. Changes nothing.
Result<VerifyReport> verify_version(const Repository& repository, const catalog::Version& version,
                                    VerifyProgress& progress);

}  // namespace icbd::repository
