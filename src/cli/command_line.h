// The command line as it is declared: options of all commands, and the table's commands.
//
// Lifecycle: construct; parse() once; then chosen(). Completion and suggestions only look at app().
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <vector>

#include "command.h"

namespace icbd::cli {

class CommandLine {
 public:
  // `server` is asked unless --server says another.
  explicit CommandLine(std::string server);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Throws what CLI11 throws.
  void parse(std::span<const std::string> arguments);

  const CLI::App& app() const { return app_; }
  CLI::App& app() { return app_; }
  const std::string& server() const { return server_; }
  bool json() const { return json_; }

  // After parse(): the command that was given, and what it does.
  const CLI::App& chosen() const { return *app_.get_subcommands().front(); }
  const Action& action() const;
  // After a parse() that has failed: what the command ends with, as far as there is one.
  int usage_code() const;

 private:
  struct Defined {
    const CLI::App* command;
    Action action;
    int usage_code;
  };

  CLI::App app_;
  std::string server_;
  bool json_ = false;
  std::vector<Defined> defined_;
};

// What an argument takes: "IMAGE", "FILE"; "" for a flag.
std::string kind_of_word(const CLI::Option& option);

}  // namespace icbd::cli
