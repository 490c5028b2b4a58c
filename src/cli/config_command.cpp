#include <fmt/format.h>

#include "answers.h"
#include "command.h"
#include "configuration_files.h"
#include "version_cells.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct ConfigOptions {
  std::string action;
  std::string file;
  bool master = false;
  bool cache = false;

  Daemon daemon() const {
    if (master) return Daemon::master;
    return cache ? Daemon::cache : Daemon::unknown;
  }
};

// The file that was named, or those that are installed.
Result<std::vector<std::filesystem::path>> files_of(const ConfigOptions& options,
                                                    const Surroundings& surroundings) {
  if (!options.file.empty()) return std::vector{surroundings.working_directory / options.file};
  auto installed = installed_configurations(surroundings.configuration_directory);
  if (options.daemon() != Daemon::unknown)
    std::erase_if(installed, [&](const auto& file) {
      return file.stem().string() != to_string(options.daemon());
    });
  if (installed.empty())
    return fail(ErrorCode::not_found,
                fmt::format("there is no configuration in {}: name a FILE, or make one of what "
                            "icbd config default prints",
                            surroundings.configuration_directory.string()));
  return installed;
}

Result<int> check(const ConfigOptions& options, const Place& place) {
  ICBD_ASSIGN(const auto files, files_of(options, place.surroundings));
  json report = json::array();
  int code = exit_done;
  for (const auto& file : files) {
    const auto loaded = load_configuration(file, options.daemon());
    json entry{{"file", file.string()}, {"error", nullptr}};
    if (loaded) {
      entry["daemon"] = to_string(daemon_of(*loaded));
      if (!place.json)
        place.terminal.out << fmt::format("{}: no errors, as that of a {}\n",
                                          printable(file.string()), to_string(daemon_of(*loaded)));
    } else {
      code = exit_failed;
      entry["error"] = loaded.error().message();
      if (!place.json)
        place.terminal.errors << fmt::format("icbd: {}\n", printable(loaded.error().message()));
    }
    report.push_back(std::move(entry));
  }
  if (place.json) print_json(place.terminal, report);
  return code;
}

json to_json(const std::filesystem::path& file, const Configuration& configuration) {
  json keys = json::array();
  for (const config::DescribedKey& key : describe(configuration))
    keys.push_back({{"table", key.table},
                    {"name", key.name},
                    {"value", key.value},
                    {"default", key.standard},
                    {"is_default", key.is_default()},
                    {"range", key.range}});
  return {{"file", file.string()},
          {"daemon", to_string(daemon_of(configuration))},
          {"keys", std::move(keys)}};
}

void print(const std::filesystem::path& file, const Configuration& configuration,
           const Terminal& terminal) {
  terminal.out << fmt::format("{}, of a {}\n", printable(file.string()),
                              to_string(daemon_of(configuration)));
  Table table({"KEY", "VALUE", "DEFAULT", "MAY BE"});
  for (const config::DescribedKey& key : describe(configuration)) {
    const Style style = key.is_default() ? Style::faint : Style::plain;
    std::string standard = key.is_default() ? "as it is" : key.standard;
    if (key.standard.empty()) standard = "required";
    table.add_cells({{.text = key.label(), .style = style},
                     {.text = key.value, .style = style},
                     {.text = std::move(standard), .style = style},
                     {.text = key.range, .style = style}});
  }
  print_table(terminal, table);
}

Result<int> show(const ConfigOptions& options, const Place& place) {
  ICBD_ASSIGN(const auto files, files_of(options, place.surroundings));
  json report = json::array();
  for (const auto& file : files) {
    ICBD_ASSIGN(const Configuration configuration, load_configuration(file, options.daemon()));
    if (place.json)
      report.push_back(to_json(file, configuration));
    else
      print(file, configuration, place.terminal);
  }
  if (place.json) print_json(place.terminal, report);
  return exit_done;
}

Result<int> print_default(const ConfigOptions& options, const Place& place) {
  if (options.daemon() == Daemon::unknown || !options.file.empty())
    return fail(ErrorCode::invalid_argument,
                "config default needs --master or --cache, and takes no FILE");
  const std::string_view example =
      options.master ? config::example_master() : config::example_cache();
  if (place.json) {
    const Configuration untouched =
        options.master ? Configuration(config::Master{}) : Configuration(config::Cache{});
    print_json(place.terminal, to_json({}, untouched));
  } else {
    place.terminal.out << example;
  }
  return exit_done;
}

Result<int> configure(const ConfigOptions& options, const Place& place) {
  if (options.action == "check") return check(options, place);
  if (options.action == "show") return show(options, place);
  return print_default(options, place);
}

}  // namespace

Action define_config(Arguments& arguments) {
  const auto options = std::make_shared<ConfigOptions>();
  arguments.choice("ACTION", {"check", "show", "default"}, options->action,
                   "check says what is wrong and where; show, what every key is; default prints a "
                   "commented example");
  arguments.word(word_file, options->file, "The configuration; those in /etc/icbd without it",
                 Need::optional);
  arguments.flag("--master", options->master, "That of a master");
  arguments.flag("--cache", options->cache, "That of a cache");
  arguments.exclude("--master", "--cache");
  arguments.footer("Exit code 1: check found something.");
  return WorkHere([options](const Place& place) { return configure(*options, place); });
}

}  // namespace icbd::cli
