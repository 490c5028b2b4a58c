// icbd-master: reads its configuration, starts the master, waits for a signal.
#include <fmt/format.h>

#include "icbd/base/service_manager.h"
#include "icbd/base/stop_signals.h"
#include "icbd/config/config.h"
#include "icbd/config/daemon.h"
#include "icbd/master/master.h"

using namespace icbd;

int main(int argc, char** argv) {
  const auto arguments = config::parse_daemon_arguments(
      argc, argv, "icbd-master", "Publishes versions of images and serves them to caches.");
  if (!arguments) return arguments.error();
  return config::run_daemon(
      *arguments, config::load_master,
      [&](const config::Master& configuration, const Logger& logger) {
        StopSignals signals;
        auto master = master::Master::start(configuration, logger);
        if (!master) return config::complain(*arguments, config::exit_failed, master.error());
        config::say(fmt::format("icbd-master ready rest={} data={}", (*master)->rest_address(),
                                (*master)->data_address()));
        if (const Status told = notify_service_manager("READY=1"); !told)
          logger->warn("{}", told.error().message());
        logger->info("stopping on signal {}", signals.wait());
        (*master)->stop();
        return config::exit_done;
      });
}
