#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

#include "answers.h"
#include "command.h"
#include "doctor_checks.h"
#include "doctor_facts.h"
#include "version_cells.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds patience{2'000};

void append(std::vector<Finding>& findings, std::vector<Finding> more) {
  std::ranges::move(more, std::back_inserter(findings));
}

// The status of whoever answers there, if it is one of ours.
Result<json> ask_status(const std::string& url) {
  ICBD_ASSIGN(auto server, rest::HttpClient::make(url));
  server.set_timeout(patience);
  return server.get("/api/status");
}

// "0.0.0.0:5009" is reached here as 127.0.0.1.
std::string url_of_listener(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : address.substr(colon);
  if (host == "0.0.0.0") return "http://127.0.0.1" + port;
  if (host == "[::]") return "http://[::1]" + port;
  return "http://" + address;
}

const std::filesystem::path& repository_of(const Configuration& configuration) {
  return std::visit([](const auto& of) -> const std::filesystem::path& { return of.repository; },
                    configuration);
}

const std::string& rest_listen_of(const Configuration& configuration) {
  return std::visit([](const auto& of) -> const std::string& { return of.rest_listen; },
                    configuration);
}

std::vector<Finding> examine_configuration(const std::filesystem::path& file,
                                           const Surroundings& surroundings,
                                           const MachineFacts& machine) {
  const auto configuration = load_configuration(file, Daemon::unknown);
  if (!configuration)
    return {{.subject = "configuration",
             .verdict = Verdict::bad,
             .found = configuration.error().message(),
             .cost = "the daemon cannot start",
             .advice = "icbd config default prints a commented example"}};
  std::vector<Finding> findings{
      {.subject = "configuration",
       .found = fmt::format("{}, of a {}", file.string(), to_string(daemon_of(*configuration)))}};
  const std::filesystem::path& repository = repository_of(*configuration);
  const auto mount = find_mount(surroundings.machine_root, repository);
  append(findings,
         check_repository(repository, mount,
                          mount ? look_at_btrfs(surroundings.machine_root, *mount) : std::nullopt));
  append(findings, check_source(*configuration, machine.ssh));
  const auto status = ask_status(url_of_listener(rest_listen_of(*configuration)));
  append(findings,
         check_ports(*configuration, machine,
                     status && text(*status, "role") == to_string(daemon_of(*configuration))));
  return findings;
}

std::vector<Finding> examine_server(const Place& place) {
  const auto status = ask_status(place.server_url);
  if (status) return check_server(place.server_url, *status, place.terminal.clock.wall());
  return {{.subject = "server",
           .verdict = Verdict::bad,
           .found = status.error().message(),
           .cost = "icbd can ask nobody",
           .advice = "start the daemon, or say which one: --server URL or ICBD_SERVER"}};
}

Result<std::vector<Finding>> examine(const std::string& file, const Place& place) {
  const Surroundings& surroundings = place.surroundings;
  const MachineFacts machine = look_at_machine(surroundings.machine_root);
  std::vector<Finding> findings = check_machine(machine);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_errno("getrlimit");
  findings.push_back(check_descriptors(limit.rlim_max));
  auto files = installed_configurations(surroundings.configuration_directory);
  if (!file.empty()) files = {surroundings.working_directory / file};
  for (const auto& each : files)
    append(findings, examine_configuration(each, surroundings, machine));
  if (files.empty())
    findings.push_back(
        {.subject = "configuration",
         .verdict = Verdict::note,
         .found = fmt::format("none in {}", surroundings.configuration_directory.string()),
         .cost = "repository and ports were not looked at",
         .advice = "--config FILE names one"});
  append(findings, examine_server(place));
  return findings;
}

Style style_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::good:
      return Style::good;
    case Verdict::note:
      return Style::busy;
    case Verdict::bad:
      break;
  }
  return Style::bad;
}

void print(const std::vector<Finding>& findings, const Terminal& terminal) {
  constexpr std::string_view indent = "      ";
  for (const Finding& finding : findings) {
    terminal.out << fmt::format(
        "{}{}  {}: {}\n",
        paint(to_string(finding.verdict), style_of(finding.verdict), terminal.colours),
        finding.verdict == Verdict::bad ? " " : "", finding.subject, printable(finding.found));
    if (!finding.cost.empty()) terminal.out << indent << "costs: " << finding.cost << "\n";
    if (!finding.advice.empty()) terminal.out << indent << "to do: " << finding.advice << "\n";
  }
}

json to_json(const std::vector<Finding>& findings) {
  json list = json::array();
  for (const Finding& finding : findings)
    list.push_back({{"subject", finding.subject},
                    {"verdict", to_string(finding.verdict)},
                    {"found", finding.found},
                    {"cost", finding.cost},
                    {"advice", finding.advice}});
  return {{"findings", std::move(list)}};
}

Result<int> doctor(const std::string& file, const Place& place) {
  ICBD_ASSIGN(const auto findings, examine(file, place));
  const auto count =
      static_cast<std::uint64_t>(std::ranges::count(findings, Verdict::bad, &Finding::verdict));
  if (place.json) {
    print_json(place.terminal, to_json(findings));
  } else {
    print(findings, place.terminal);
    place.terminal.out << (count == 0 ? "all is well\n"
                                      : fmt::format("{} to do\n", format_count(count, "thing")));
  }
  return count == 0 ? exit_done : exit_failed;
}

}  // namespace

Action define_doctor(Arguments& arguments) {
  const auto file = std::make_shared<std::string>();
  arguments.option("--config", word_file, *file,
                   "A daemon's configuration; those in /etc/icbd without it");
  arguments.footer("Exit codes: 0 all is well, 1 there is something to do.");
  return WorkHere([file](const Place& place) { return doctor(*file, place); });
}

}  // namespace icbd::cli
