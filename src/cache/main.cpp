// icbd-cache: reads its configuration, mounts the view, waits for a signal.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "icbd/cache/cache.h"
#include "icbd/config/config.h"
#include "icbd/config/daemon.h"

using namespace icbd;

namespace {

config::Service service_of(cache::Cache& cache, const config::DaemonArguments& arguments,
                           const config::Cache& configuration, const Logger& logger) {
  const std::string mountpoint = configuration.mountpoint.string();
  return {.ready_line = fmt::format("icbd-cache ready rest={} mountpoint={}", cache.rest_address(),
                                    mountpoint),
          .status = fmt::format("{} shows the images of {}", mountpoint, configuration.master_data),
          .healthy = [&cache] { return cache.healthy(); },
          .reload = config::reloader<config::Cache>(
              arguments, config::load_cache, configuration, logger,
              [&cache](const config::Cache& changed) { cache.reconfigure(changed); })};
}

int serve(const config::DaemonArguments& arguments, const config::Cache& configuration,
          const Logger& logger) {
  DaemonSignals signals;
  // Somebody else took the mount away: there is nothing left to serve.
  auto cache = cache::Cache::start(configuration, logger, [logger] {
    logger->info("the view was unmounted");
    ::kill(::getpid(), SIGTERM);
  });
  if (!cache) return config::complain(arguments, config::exit_failed, cache.error());
  const Status served = config::serve_until_stopped(
      signals, logger, service_of(**cache, arguments, configuration, logger));
  (*cache)->stop();
  return served ? config::exit_done
                : config::complain(arguments, config::exit_failed, served.error());
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = config::parse_daemon_arguments(
      argc, argv,
      {.name = "icbd-cache",
       .description =
           "Shows every version of every image of a master, and fetches them as they are read.",
       .example = config::example_cache()});
  if (!arguments) return arguments.error();
  return config::run_daemon(*arguments, config::load_cache,
                            [&](const config::Cache& configuration, const Logger& logger) {
                              return serve(*arguments, configuration, logger);
                            });
}
