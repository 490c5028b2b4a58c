// One worker: a child process that waits for its turn.
//
// Lifecycle: start_worker() forks, and executes if it is to be another program; the process dies
// with the holder (PR_SET_PDEATHSIG). The holder speaks to it over `channel`, and reaps it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::holder {

struct WorkerProcess {
  pid_t process = -1;
  unique_fd channel;
  bool prepared = false;

  bool exists() const { return process > 0; }
};

struct WorkerSettings {
  const std::function<int()>* work = nullptr;  // of this very program; null: `program` is executed
  int program = -1;                            // a descriptor of the executable
  const std::vector<std::string>& arguments;
  const std::string& notify_socket;
  std::chrono::microseconds silence{};
};

Result<WorkerProcess> start_worker(const WorkerSettings& settings);

}  // namespace icbd::holder
