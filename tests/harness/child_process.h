// Starting a program; what run() and Process share.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::harness {

struct SpawnOptions {
  int output_fd = -1;
  int error_fd = -1;
  std::vector<std::string> environment = {};  // "NAME=value", in addition to this process's own
};

Result<pid_t> spawn(const std::vector<std::string>& arguments, const SpawnOptions& options);
// Waits and reaps: the exit code, or 128 + signal.
Result<int> wait_for(pid_t child);

}  // namespace icbd::harness
