// icbd-cache: reads its configuration, starts the cache, waits for a signal.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "icbd/cache/cache.h"
#include "icbd/config/config.h"

namespace {

using namespace icbd;

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

struct Arguments {
  std::string config_file;
  std::string log_level;  // empty: as the configuration says
  bool check_config = false;
};

int complain(int exit_code, const Error& error) {
  fmt::print(stderr, "icbd-cache: {}\n", error.message());
  return exit_code;
}

// SIGTERM and SIGINT are taken by sigwait(3) in main, and by no other thread.
sigset_t block_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int serve(const config::Cache& configuration, const Logger& logger) {
  const sigset_t signals = block_stop_signals();
  // Somebody else took the mount away: there is nothing left to serve.
  auto cache = cache::Cache::start(configuration, logger, [logger] {
    logger->info("the view was unmounted");
    kill(getpid(), SIGTERM);
  });
  if (!cache) return complain(exit_failed, cache.error());
  fmt::print("icbd-cache ready rest={} mountpoint={}\n", (*cache)->rest_address(),
             configuration.mountpoint.string());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  logger->info("stopping on signal {}", signal);
  (*cache)->stop();
  return 0;
}

int run(const Arguments& arguments) {
  auto configuration = config::load_cache(arguments.config_file);
  if (!configuration) return complain(exit_usage, configuration.error());
  if (!arguments.log_level.empty()) configuration->log_level = arguments.log_level;
  const auto logger = make_logger("icbd-cache", configuration->log_level);
  if (!logger) return complain(exit_usage, logger.error());
  if (arguments.check_config) {
    fmt::print("{}: no errors\n", arguments.config_file);
    return 0;
  }
  return serve(*configuration, *logger);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Shows every version of every image of a master, and fetches them as they are read.",
               "icbd-cache");
  app.add_option("--config", arguments.config_file, "The configuration file")
      ->required()
      ->type_name("FILE");
  app.add_option("--log-level", arguments.log_level,
                 "debug, info, warning or error; over what the configuration says");
  app.add_flag("--check-config", arguments.check_config, "Only check the configuration, then exit");
  app.set_version_flag("--version", "icbd-cache " ICBD_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  return run(arguments);
}
