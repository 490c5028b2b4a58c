#include "command_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/version.h"

namespace icbd::cli {
namespace {

constexpr const char* exit_codes =
    "Exit codes: 0 done, 1 failed, 2 usage, 3 the server is not reachable, 4 not found, 5 refused "
    "(in\nuse, held or pinned), 130 interrupted: what the server was asked to do goes on. Commands "
    "with\ncodes of their own say so in their --help.";

}  // namespace

CommandLine::CommandLine(std::string server)
    : app_("Publishes images and shows what masters and caches hold.", "icbd"),
      server_(std::move(server)) {
  app_.require_subcommand(1);
  app_.fallthrough();  // --server and --json are taken after the command too
  app_.add_option("--server", server_, "The master or cache to ask (or ICBD_SERVER)")
      ->capture_default_str()
      ->type_name("URL");
  app_.add_flag("--json", json_, "Print the answer as JSON");
  app_.set_version_flag("--version", fmt::format("icbd {}", version()));
  app_.footer(exit_codes);
  app_.get_formatter()->label("SUBCOMMAND", "COMMAND");
  for (const Command& command : commands()) {
    CLI::App* const defined =
        app_.add_subcommand(std::string(command.name), std::string(command.summary));
    defined->group(std::string(command.group));
    defined->footer("");  // that of all commands is not said again
    Arguments arguments(*defined);
    defined_.push_back({defined, command.define(arguments), command.usage_code});
  }
}

void CommandLine::parse(std::span<const std::string> arguments) {
  app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
}

const Action& CommandLine::action() const {
  const CLI::App* const command = &chosen();
  return std::ranges::find(defined_, command, &Defined::command)->action;
}

int CommandLine::usage_code() const {
  const auto given = app_.get_subcommands();
  if (given.empty()) return exit_usage;
  return std::ranges::find(defined_, given.front(), &Defined::command)->usage_code;
}

std::string kind_of_word(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true, false);
  return option.get_type_size() == 0 ? std::string() : option.get_type_name();
}

}  // namespace icbd::cli
