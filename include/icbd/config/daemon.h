// What the main() of every daemon does before it serves: arguments, configuration, logger.
//
// Exit codes: 0 done, 1 failed, 2 usage or configuration error. Errors go to stderr, beginning with
// the program's name.
#pragma once

#include <string>
#include <string_view>

#include "icbd/base/error.h"
#include "icbd/base/log.h"

namespace icbd::config {

inline constexpr int exit_done = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

struct DaemonArguments {
  std::string program;  // "icbd-master"
  std::string config_file;
  std::string log_level;  // empty: as the configuration says
  bool check_config = false;
};

// Parses --config FILE, --log-level, --check-config, --version and --help. The unexpected value is
// the exit code to end with: 0 after --help and --version, else 2.
std::expected<DaemonArguments, int> parse_daemon_arguments(int argc, char** argv,
                                                           std::string program,
                                                           std::string_view description);
// Writes "PROGRAM: message" to stderr and returns the code.
int complain(const DaemonArguments& arguments, int exit_code, const Error& error);

// One line on stdout, at once: whoever started the daemon may be waiting for it.
void say(const std::string& line);

// Every open file of the view and every connection takes a descriptor: the soft limit (1024 by
// custom) becomes the hard one.
void raise_descriptor_limit();

// Loads the configuration with `load(file)` and runs `serve(configuration, logger)`, which returns
// the exit code.
template <typename Load, typename Serve>
int run_daemon(const DaemonArguments& arguments, const Load& load, const Serve& serve) {
  auto configuration = load(arguments.config_file);
  if (!configuration) return complain(arguments, exit_usage, configuration.error());
  if (!arguments.log_level.empty()) configuration->log_level = arguments.log_level;
  const auto logger = make_logger(arguments.program, configuration->log_level);
  if (!logger) return complain(arguments, exit_usage, logger.error());
  if (arguments.check_config) {
    say(arguments.config_file + ": no errors");
    return exit_done;
  }
  raise_descriptor_limit();
  return serve(*configuration, *logger);
}

}  // namespace icbd::config
