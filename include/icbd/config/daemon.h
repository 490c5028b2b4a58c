// What the main() of every daemon does around its service: arguments, configuration, logger; then
// readiness, watchdog, reload and stop.
//
// Exit codes: 0 done, 1 failed, 2 usage or configuration error. Errors go to stderr, beginning with
// the program's name.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/base/daemon_signals.h"
#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/config/config.h"

namespace icbd::config {

inline constexpr int exit_done = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

struct DaemonProgram {
  std::string name;  // "icbd-master"
  std::string_view description;
  std::string_view example;  // of its configuration
};

struct DaemonArguments {
  std::string program;
  std::string config_file;        // empty: the settings are all there is
  std::vector<Setting> settings;  // --set and --log-level
  bool check_config = false;
};

// Parses --config FILE, --set TABLE.KEY=VALUE, --log-level, --check-config, --print-example,
// --version and --help. The unexpected value is the exit code to end with: 0 after what only
// prints, else 2.
std::expected<DaemonArguments, int> parse_daemon_arguments(int argc, char** argv,
                                                           const DaemonProgram& program);
// Writes "PROGRAM: message" to stderr and returns the code.
int complain(const DaemonArguments& arguments, int exit_code, const Error& error);

// One line on stdout, at once: whoever started the daemon may be waiting for it.
void say(const std::string& line);

// Every open file of the view and every connection takes a descriptor: the soft limit (1024 by
// custom) becomes the hard one.
void raise_descriptor_limit();

// A daemon that serves, as the loop below sees it. All are called from the loop's thread.
struct Service {
  std::string ready_line;           // for stdout
  std::string status;               // one line for `systemctl status`
  std::function<Status()> healthy;  // goes through what users wait for; hangs if that hangs
  std::function<Status()> reload;
  bool hands_over = false;  // somebody else goes on when it is asked to; else it stays as it is
};

// How it ends: for good, or for another process to go on.
enum class Ending : std::uint8_t { stop, hand_over };

// Serves until a signal ends it: says that it is ready once it is healthy, and to a service manager
// that watches it goes on saying so; reloads on SIGHUP. An error if it is not healthy at first.
// What is not healthy later is logged, and left to the watchdog.
Result<Ending> serve_until_stopped(DaemonSignals& signals, const Logger& logger,
                                   const Service& service);

// What a reload does: reads file and settings again as at the start, hands what can change while
// the daemon runs to `apply(configuration)`, and names the rest in the log. An error changes
// nothing.
template <typename Configuration, typename Load>
std::function<Status()> reloader(const DaemonArguments& arguments, Load load, Configuration running,
                                 const Logger& logger,
                                 std::function<void(const Configuration&)> apply) {
  return [arguments, load, running = std::move(running), logger,
          apply = std::move(apply)]() mutable -> Status {
    ICBD_ASSIGN(const Configuration read_again, load(arguments.config_file, arguments.settings));
    Reload<Configuration> reload = plan_reload(running, read_again);
    running = std::move(reload.effective);
    apply(running);
    logger->info(
        "configuration read again; changed: {}",
        reload.changed.empty() ? "nothing" : fmt::format("{}", fmt::join(reload.changed, ", ")));
    for (const std::string& key : reload.deferred)
      logger->warn("{} is different in the configuration, and changes only with a restart", key);
    return {};
  };
}

// Loads the configuration with `load(file, settings)` and runs `serve(configuration, logger)`,
// which returns the exit code.
template <typename Load, typename Serve>
int run_daemon(const DaemonArguments& arguments, const Load& load, const Serve& serve) {
  const auto configuration = load(arguments.config_file, arguments.settings);
  if (!configuration) return complain(arguments, exit_usage, configuration.error());
  const auto logger = make_logger(arguments.program, configuration->log_level);
  if (!logger) return complain(arguments, exit_usage, logger.error());
  if (arguments.check_config) {
    say((arguments.config_file.empty() ? "--set" : arguments.config_file) + ": no errors");
    return exit_done;
  }
  raise_descriptor_limit();
  return serve(*configuration, *logger);
}

}  // namespace icbd::config
