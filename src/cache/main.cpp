// icbd-cache: reads its configuration, mounts the view, waits for a signal.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "icbd/base/service_manager.h"
#include "icbd/base/stop_signals.h"
#include "icbd/cache/cache.h"
#include "icbd/config/config.h"
#include "icbd/config/daemon.h"

using namespace icbd;

int main(int argc, char** argv) {
  const auto arguments = config::parse_daemon_arguments(
      argc, argv, "icbd-cache",
      "Shows every version of every image of a master, and fetches them as they are read.");
  if (!arguments) return arguments.error();
  return config::run_daemon(
      *arguments, config::load_cache,
      [&](const config::Cache& configuration, const Logger& logger) {
        StopSignals signals;
        // Somebody else took the mount away: there is nothing left to serve.
        auto cache = cache::Cache::start(configuration, logger, [logger] {
          logger->info("the view was unmounted");
          ::kill(::getpid(), SIGTERM);
        });
        if (!cache) return config::complain(*arguments, config::exit_failed, cache.error());
        config::say(fmt::format("icbd-cache ready rest={} mountpoint={}", (*cache)->rest_address(),
                                configuration.mountpoint.string()));
        if (const Status told = notify_service_manager("READY=1"); !told)
          logger->warn("{}", told.error().message());
        logger->info("stopping on signal {}", signals.wait());
        (*cache)->stop();
        return config::exit_done;
      });
}
