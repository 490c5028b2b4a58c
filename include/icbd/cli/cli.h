// The command line `icbd`, callable in-process.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "icbd/base/error.h"
#include "icbd/cli/terminal.h"

namespace icbd::cli {

enum ExitCode : int {
  exit_done = 0,
  exit_failed = 1,
  exit_usage = 2,
  exit_unreachable = 3,
  exit_not_found = 4,
  exit_refused = 5,        // in use, held or pinned
  exit_interrupted = 130,  // by whoever waited; what was asked for goes on
};
ExitCode exit_code_of(const Error& error);

// What a process has beside its arguments.
struct Surroundings {
  std::string server;  // ICBD_SERVER; empty if it is not set
  std::filesystem::path working_directory;
  int input_fd = -1;   // standard input; stays the caller's
  int output_fd = -1;  // standard output, for what is no text; stays the caller's
  // Where the daemons' configurations are looked for.
  std::filesystem::path configuration_directory = "/etc/icbd";
  // Below which /proc, /sys and /dev are.
  std::filesystem::path machine_root = "/";
};

// `arguments` without the program's name. Returns the exit code; every error has been said, also
// that `terminal.out` could not be written, which is never exit_done.
int run(std::span<const std::string> arguments, const Surroundings& surroundings,
        const Terminal& terminal);

}  // namespace icbd::cli
