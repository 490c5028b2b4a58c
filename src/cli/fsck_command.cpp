#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>

#include "icbd/config/config.h"
#include "icbd/repository/fsck.h"

#include "answers.h"
#include "command.h"
#include "configuration_files.h"
#include "format.h"
#include "progress_bar.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using repository::Finding;
using repository::FsckReport;

// The exit code says what was found (as with fsck(8), except that findings that are left are 3).
enum FsckExitCode : int { fsck_clean = 0, fsck_repaired = 1, fsck_failed = 2, fsck_left = 3 };
struct FsckArguments {
  std::string config;  // of these two, at most one; none: the installed configuration
  std::string repository;
  bool repair = false;
  bool data = false;
};

constexpr std::chrono::milliseconds poll_interval{200};

// A file that both daemons would take leaves open whose it is.
Result<repository::FsckOptions> read_configuration(const std::filesystem::path& file) {
  const auto master = config::load_master(file);
  const auto cache = config::load_cache(file);
  if (!master && !cache)
    return fail(ErrorCode::invalid_argument,
                fmt::format("it is no configuration of a master ({}) nor of a cache ({})",
                            master.error().message(), cache.error().message()));
  repository::FsckOptions options{.directory = master ? master->repository : cache->repository};
  if (!cache) options.role = repository::Role::master;
  if (!master) options.role = repository::Role::cache;
  return options;
}

// The one configuration that is installed.
Result<repository::FsckOptions> read_installed(const std::filesystem::path& directory) {
  const auto installed = installed_configurations(directory);
  if (installed.size() == 1) return read_configuration(installed.front());
  return fail(ErrorCode::invalid_argument,
              fmt::format("say which repository: --config FILE of its daemon, or --repository DIR "
                          "({} configurations are in {})",
                          installed.size(), directory.string()));
}

Result<repository::FsckOptions> make_options(const FsckArguments& arguments,
                                             const Surroundings& surroundings) {
  const std::filesystem::path& here = surroundings.working_directory;
  repository::FsckOptions options;
  if (!arguments.repository.empty()) {
    options.directory = here / arguments.repository;
  } else if (!arguments.config.empty()) {
    ICBD_ASSIGN(options, read_configuration(here / arguments.config));
  } else {
    ICBD_ASSIGN(options, read_installed(surroundings.configuration_directory));
  }
  options.repair = arguments.repair;
  options.data = arguments.data;
  return options;
}

// Runs the check beside a bar that says how far it is.
Result<FsckReport> check(const repository::FsckOptions& options, const Terminal& terminal,
                         bool quiet) {
  repository::FsckProgress progress;
  auto result = std::async(std::launch::async, [&] { return fsck(options, progress); });
  std::optional<ProgressBar> bar;
  if (!quiet && options.data) bar.emplace(terminal, "checking");
  while (result.wait_for(poll_interval) != std::future_status::ready)
    if (bar)
      bar->update({.done = progress.bytes_done,
                   .total = progress.bytes_total,
                   .bytes_per_second = {},
                   .remaining = {}});
  return result.get();
}

FsckExitCode exit_code_of(const FsckReport& report) {
  if (report.clean()) return fsck_clean;
  return report.all_settled() ? fsck_repaired : fsck_left;
}

std::string_view verdict(const FsckReport& report) {
  switch (exit_code_of(report)) {
    case fsck_clean:
      return "clean";
    case fsck_repaired:
      return "repaired";
    default:
      return "left";
  }
}

json to_json(const Finding& finding) {
  return {{"kind", to_string(finding.kind)},          {"version", finding.version},
          {"path", printable(finding.path.string())}, {"what", printable(finding.what)},
          {"action", printable(finding.action)},      {"settled", finding.settled}};
}

json to_json(const FsckReport& report, const repository::FsckOptions& options) {
  json findings = json::array();
  for (const Finding& finding : report.findings) findings.push_back(to_json(finding));
  return {{"repository", printable(options.directory.string())},
          {"role", to_string(report.role)},
          {"versions", report.versions},
          {"data", options.data},
          {"findings", std::move(findings)},
          {"result", verdict(report)}};
}

void print(const FsckReport& report, const repository::FsckOptions& options,
           const Terminal& terminal) {
  for (const Finding& finding : report.findings)
    terminal.out << printable(describe(finding)) << "\n";
  const auto left = std::ranges::count(report.findings, false, &Finding::settled);
  terminal.out << fmt::format(
      "{} of a {}: {} complete versions looked at{}, {} findings, {} of them left\n",
      printable(options.directory.string()), to_string(report.role), report.versions,
      options.data ? "" : " without their data", report.findings.size(), left);
}

int fsck(const FsckArguments& arguments, const Surroundings& surroundings, const Terminal& terminal,
         bool as_json) {
  const auto complain = [&terminal](const Error& error) {
    terminal.errors << fmt::format("icbd: {}\n", error.message());
    return int{fsck_failed};
  };
  const auto options = make_options(arguments, surroundings);
  if (!options) return complain(options.error());
  const auto report = check(*options, terminal, as_json);
  if (!report) return complain(report.error());
  if (as_json)
    print_json(terminal, to_json(*report, *options));  // names of files may be no UTF-8
  else
    print(*report, *options, terminal);
  const FsckExitCode code = exit_code_of(*report);
  // Who cannot read the report must not take it for clean or repaired; run() says why.
  return terminal.out.flush() || code == fsck_left ? code : fsck_failed;
}

}  // namespace

Action define_fsck(Arguments& arguments) {
  const auto options = std::make_shared<FsckArguments>();
  arguments.footer(
      "Exit codes: 0 nothing was found, 1 all that was found is repaired, 2 it could not be "
      "checked, 3 findings are left.");
  arguments.option("--config", word_file, options->config, "The daemon's configuration");
  arguments.option("--repository", word_directory, options->repository,
                   "The repository's directory");
  arguments.exclude("--repository", "--config");
  arguments.flag("--repair", options->repair, "Put right what can be, and say what was done");
  arguments.flag("--data", options->data, "Read every byte too");
  return WorkHere([options](const Place& place) {
    return fsck(*options, place.surroundings, place.terminal, place.json);
  });
}

}  // namespace icbd::cli
