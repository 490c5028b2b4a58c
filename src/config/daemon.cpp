#include "icbd/config/daemon.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>

namespace icbd::config {

std::expected<DaemonArguments, int> parse_daemon_arguments(int argc, char** argv,
                                                           std::string program,
                                                           std::string_view description) {
  DaemonArguments arguments;
  CLI::App app(std::string(description), program);
  app.add_option("--config", arguments.config_file, "The configuration file")
      ->required()
      ->type_name("FILE");
  app.add_option("--log-level", arguments.log_level,
                 "debug, info, warning or error; over what the configuration says");
  app.add_flag("--check-config", arguments.check_config, "Only check the configuration, then exit");
  app.set_version_flag("--version", program + " " ICBD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return std::unexpected(app.exit(error) == 0 ? exit_done : exit_usage);
  }
  arguments.program = std::move(program);
  return arguments;
}

int complain(const DaemonArguments& arguments, int exit_code, const Error& error) {
  fmt::print(stderr, "{}: {}\n", arguments.program, error.message());
  return exit_code;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // what is not granted shows as EMFILE where it matters
}

void say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

}  // namespace icbd::config
