#include "icbd/config/daemon.h"

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "icbd/base/service_manager.h"
#include "icbd/base/version.h"

namespace icbd::config {
namespace {

// systemd wants MONOTONIC_USEC with RELOADING=1, to tell a reload from the one before.
std::uint64_t monotonic_microseconds() {
  constexpr std::uint64_t per_second = 1'000'000;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * per_second +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
}

// Of systemd's STATUS=, which is one line.
std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

class ServiceLoop {
 public:
  ServiceLoop(DaemonSignals& signals, const Logger& logger, const Service& service)
      : signals_(signals), logger_(logger), service_(service) {}

  Result<Ending> run() {
    ICBD_TRY(service_.healthy());
    say(service_.ready_line);
    tell("READY=1\nSTATUS=" + one_line(service_.status));
    for (;;) {
      const DaemonSignal signal =
          watchdog_ ? signals_.wait_for(*watchdog_ / checks_per_timeout) : signals_.wait();
      if (signal == DaemonSignal::hand_over && service_.hands_over) {
        logger_->info("handing over on a signal");
        return Ending::hand_over;
      }
      if (signal == DaemonSignal::hand_over)
        logger_->warn("there is nobody to hand over to: restart it");
      if (signal == DaemonSignal::stop) break;
      if (signal == DaemonSignal::reload) reload();
      if (watchdog_) check();
    }
    logger_->info("stopping on a signal");
    tell("STOPPING=1\nSTATUS=stopping");
    return Ending::stop;
  }

 private:
  // sd_watchdog_enabled(3) recommends half of the time; more often leaves room for a slow check.
  static constexpr int checks_per_timeout = 3;

  void tell(const std::string& state) {
    if (const Status told = notify_service_manager(state); !told)
      logger_->warn("{}", told.error().message());
  }

  void check() {
    if (const Status healthy = service_.healthy(); healthy)
      tell("WATCHDOG=1");
    else
      logger_->error("the watchdog is not answered: {}", healthy.error().message());
  }

  void reload() {
    tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the configuration again",
                     monotonic_microseconds()));
    std::string status = service_.status;
    if (const Status reloaded = service_.reload(); !reloaded) {
      status += "; its configuration has an error: " + reloaded.error().message();
      logger_->error("nothing was reloaded: {}", reloaded.error().message());
    }
    tell("READY=1\nSTATUS=" + one_line(std::move(status)));
  }

  DaemonSignals& signals_;
  const Logger& logger_;
  const Service& service_;
  std::optional<std::chrono::microseconds> watchdog_ = watchdog_timeout();
};

Result<std::vector<Setting>> read_settings(const std::vector<std::string>& texts,
                                           const std::string& log_level) {
  std::vector<Setting> settings;
  for (const std::string& text : texts) {
    ICBD_ASSIGN(Setting setting, parse_setting(text));
    settings.push_back(std::move(setting));
  }
  if (!log_level.empty()) settings.push_back({"log.level", log_level, "--log-level " + log_level});
  return settings;
}

}  // namespace

std::expected<DaemonArguments, int> parse_daemon_arguments(int argc, char** argv,
                                                           const DaemonProgram& program) {
  DaemonArguments arguments{.program = program.name, .config_file = {}, .settings = {}};
  std::vector<std::string> settings;
  std::string log_level;
  bool print_example = false;
  CLI::App app(std::string(program.description), program.name);
  app.add_option("--config", arguments.config_file,
                 "The configuration file; without one, --set has to say what is needed")
      ->type_name("FILE");
  app.add_option("--set", settings,
                 "A value over what the file says, such as fetch.fill=never; repeatable")
      ->type_name("TABLE.KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--log-level", log_level, "The same as --set log.level=LEVEL")->type_name("LEVEL");
  app.add_flag("--check-config", arguments.check_config, "Only check the configuration, then exit");
  app.add_flag("--print-example", print_example,
               "Print a commented configuration file with every default, then exit");
  app.set_version_flag("--version", fmt::format("{} {}", program.name, version()));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return std::unexpected(app.exit(error) == 0 ? exit_done : exit_usage);
  }
  if (print_example) {
    const std::string_view text = program.example;
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
      return std::unexpected(exit_done);
    return std::unexpected(
        complain(arguments, exit_failed, Error::from_errno("write the example", errno)));
  }
  auto read = read_settings(settings, log_level);
  if (!read) return std::unexpected(complain(arguments, exit_usage, read.error()));
  arguments.settings = std::move(*read);
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

Result<Ending> serve_until_stopped(DaemonSignals& signals, const Logger& logger,
                                   const Service& service) {
  return ServiceLoop(signals, logger, service).run();
}

}  // namespace icbd::config
