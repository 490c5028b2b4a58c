// icbd-cache: reads its configuration; holds a worker, or is one: mounts the view, waits for a
// signal.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>

#include "icbd/base/digest.h"
#include "icbd/base/this_thread.h"
#include "icbd/cache/cache.h"
#include "icbd/config/config.h"
#include "icbd/config/daemon.h"
#include "icbd/holder/holder.h"

#include "kept_configuration.h"

using namespace icbd;

namespace {

config::Service service_of(cache::Cache& cache, const config::DaemonArguments& arguments,
                           const config::Cache& configuration, const Logger& logger, bool held) {
  const std::string mountpoint = configuration.mountpoint.string();
  return {.ready_line = fmt::format("icbd-cache ready rest={} mountpoint={}", cache.rest_address(),
                                    mountpoint),
          .status = fmt::format("{} shows the images of {}", mountpoint,
                                config::source_of(configuration)),
          .healthy = [&cache] { return cache.healthy(); },
          .reload = config::reloader<config::Cache>(
              arguments, held ? cache::load_again : config::load_cache, configuration, logger,
              [&cache](const config::Cache& changed) { cache.reconfigure(changed); }),
          .hands_over = held};
}

int serve(const config::DaemonArguments& arguments, const config::Cache& configuration,
          const Logger& logger, cache::Inheritance inheritance) {
  DaemonSignals signals;
  const bool held = inheritance.holder != nullptr;
  std::optional<WorkFirst> first;
  if (inheritance.turn.starts > 0) first.emplace();  // readers wait until it serves
  // Somebody else took the mount away: there is nothing left to serve.
  auto cache = cache::Cache::start(configuration, logger, std::move(inheritance), [logger] {
    logger->info("the view was unmounted");
    ::kill(::getpid(), SIGTERM);
  });
  first.reset();
  if (!cache) return config::complain(arguments, config::exit_failed, cache.error());
  const auto served = config::serve_until_stopped(
      signals, logger, service_of(**cache, arguments, configuration, logger, held));
  // One that is not healthy leaves the mount too: the holder knows whether another one goes on.
  if (held && (!served || *served == config::Ending::hand_over))
    (*cache)->hand_over();
  else
    (*cache)->stop();
  return served ? config::exit_done
                : config::complain(arguments, config::exit_failed, served.error());
}

// What the holder starts.
int work(const config::DaemonArguments& arguments, const std::unique_ptr<holder::Channel>& holder) {
  if (!holder) return config::exit_failed;  // it is gone
  ::prctl(PR_SET_NAME, "icbd-worker");
  // What takes time and needs nothing of the worker before, if it was not done by the holder.
  static_cast<void>(sha256({}));
  auto turn = holder->wait();
  if (!turn && turn.error().code() == ErrorCode::cancelled) return config::exit_done;
  if (!turn) return config::complain(arguments, config::exit_failed, turn.error());
  config::Continuation continuation;
  return config::run_daemon(
      arguments,
      [&](const std::filesystem::path&, config::Settings) -> Result<config::Cache> {
        ICBD_ASSIGN(continuation, cache::load_for_turn(*turn, arguments));
        return continuation.configuration;
      },
      [&](const config::Cache& configuration, const Logger& logger) {
        cache::log_continuation(continuation, logger);
        return serve(arguments, configuration, logger,
                     {.holder = holder.get(), .turn = std::move(*turn)});
      });
}

// This process holds the one that does the work, or does it.
int hold(const config::DaemonArguments& arguments, const config::Cache& configuration,
         const Logger& logger, std::vector<std::string> words) {
  if (!configuration.holder) return serve(arguments, configuration, logger, {});
  // Once for all workers, which begin with what is in memory here: the first digest loads OpenSSL.
  static_cast<void>(sha256({}));
  const auto ended =
      holder::run({.arguments = std::move(words),
                   .logger = logger,
                   .work = [&arguments] { return work(arguments, holder::Channel::open()); },
                   .silence = configuration.worker_timeout});
  return ended ? *ended : config::complain(arguments, config::exit_failed, ended.error());
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
  if (const auto holder = holder::Channel::open()) return work(*arguments, holder);
  return config::run_daemon(*arguments, config::load_cache,
                            [&](const config::Cache& configuration, const Logger& logger) {
                              return hold(*arguments, configuration, logger, {argv, argv + argc});
                            });
}
