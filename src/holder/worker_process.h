// One worker: a child process with the descriptors that are kept for it.
//
// Lifecycle: start() forks and executes; the process dies with the holder (PR_SET_PDEATHSIG).
// Whoever calls reaps it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::holder {

struct WorkerSettings {
  int program = -1;  // a descriptor of the executable
  std::vector<std::string> arguments;
  const std::map<std::string, unique_fd>& kept;
  std::string notify_socket;
  std::chrono::microseconds silence{};
  unsigned starts = 0;
  std::string last_end;
};

Result<pid_t> start_worker(const WorkerSettings& settings);

}  // namespace icbd::holder
