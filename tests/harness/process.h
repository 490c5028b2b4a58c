// A program that runs beside the test: a daemon under test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd::harness {

struct ProcessOptions {
  // Where NAME.stdout and NAME.stderr are written (appended to, so that a restart keeps both).
  std::filesystem::path log_directory;
  std::string name;
  std::vector<std::string> environment = {};  // "NAME=value", in addition to this process's own
};

// Lifecycle: start() runs it; the destructor kills it (SIGKILL) and reaps it if it still runs.
// Not thread-safe.
class Process {
 public:
  static Result<std::unique_ptr<Process>> start(const std::vector<std::string>& arguments,
                                                ProcessOptions options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // The first line on stdout of this start that begins with `prefix`. timed_out at the deadline;
  // unavailable, with what it wrote to stderr, if the program ends before.
  Result<std::string> wait_for_line(const std::string& prefix, std::chrono::milliseconds deadline);
  Status signal(int number);
  // The exit code, or 128 + signal. timed_out if it still runs at the deadline.
  Result<int> wait_for_exit(std::chrono::milliseconds deadline);
  // SIGTERM, then wait_for_exit.
  Result<int> stop(std::chrono::milliseconds deadline);
  bool running() const { return child_ > 0; }

  pid_t id() const { return child_; }
  // What it has written since this start.
  std::string output() const;
  std::string error_output() const;

 private:
  Process(ProcessOptions options, pid_t child, unique_fd child_fd);
  std::filesystem::path output_path() const;
  std::filesystem::path error_path() const;

  ProcessOptions options_;
  pid_t child_ = -1;    // -1 once it has been reaped
  unique_fd child_fd_;  // pidfd_open(2)
  std::uint64_t output_start_ = 0;
  std::uint64_t error_start_ = 0;
};

}  // namespace icbd::harness
