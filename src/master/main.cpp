// icbd-master: reads its configuration, starts the master, waits for a signal.
#include <fmt/format.h>

#include "icbd/config/config.h"
#include "icbd/config/daemon.h"
#include "icbd/master/master.h"

using namespace icbd;

namespace {

config::Service service_of(master::Master& master, const config::DaemonArguments& arguments,
                           const config::Master& configuration, const Logger& logger) {
  return {.ready_line = fmt::format("icbd-master ready rest={} data={}", master.rest_address(),
                                    master.data_address()),
          .status = fmt::format("serves {} on {}", configuration.repository.string(),
                                master.data_address()),
          .healthy = [&master] { return master.healthy(); },
          .reload = config::reloader<config::Master>(
              arguments, config::load_master, configuration, logger,
              [&master](const config::Master& changed) { master.reconfigure(changed); })};
}

int serve(const config::DaemonArguments& arguments, const config::Master& configuration,
          const Logger& logger) {
  DaemonSignals signals;
  auto master = master::Master::start(configuration, logger);
  if (!master) return config::complain(arguments, config::exit_failed, master.error());
  const auto served = config::serve_until_stopped(
      signals, logger, service_of(**master, arguments, configuration, logger));
  (*master)->stop();
  return served ? config::exit_done
                : config::complain(arguments, config::exit_failed, served.error());
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = config::parse_daemon_arguments(
      argc, argv,
      {.name = "icbd-master",
       .description = "Publishes versions of images and serves them to caches.",
       .example = config::example_master()});
  if (!arguments) return arguments.error();
  return config::run_daemon(*arguments, config::load_master,
                            [&](const config::Master& configuration, const Logger& logger) {
                              return serve(*arguments, configuration, logger);
                            });
}
