#include "icbd/cli/cli.h"

#include <fmt/format.h>

#include "command_line.h"
#include "complete.h"
#include "format.h"
#include "suggest.h"

namespace icbd::cli {
namespace {

constexpr const char* default_server = "http://127.0.0.1:5009";

int explain_usage(const CommandLine& line, const CLI::ParseError& error,
                  std::span<const std::string> arguments, const Terminal& terminal) {
  const std::string word = unknown_word(line.app(), arguments);
  if (word.empty()) {
    terminal.errors << fmt::format("icbd: {}\n", error.what());
  } else {
    terminal.errors << fmt::format("icbd: \"{}\" is not a command or option of icbd{}\n", word,
                                   did_you_mean(word, known_words(line.app())));
  }
  terminal.errors << "Run icbd --help for all of them.\n";
  return line.usage_code();
}

Result<int> ask(const CommandLine& line, const AskServer& action, const Surroundings& surroundings,
                const Terminal& terminal) {
  ICBD_ASSIGN(const auto server, rest::HttpClient::make(line.server()));
  const Status done = action(
      {.server = server, .terminal = terminal, .surroundings = surroundings, .json = line.json()});
  if (done) return exit_done;
  if (done.error().code() == ErrorCode::not_found)
    if (const std::string better = suggest_names(line.chosen(), server); !better.empty())
      return fail(ErrorCode::not_found, better);
  return std::unexpected(done.error());
}

Result<int> run_chosen(const CommandLine& line, const Surroundings& surroundings,
                       const Terminal& terminal) {
  const Action& action = line.action();
  if (const auto* const local = std::get_if<WorkHere>(&action))
    return (*local)({.terminal = terminal,
                     .surroundings = surroundings,
                     .server_url = line.server(),
                     .json = line.json()});
  return ask(line, std::get<AskServer>(action), surroundings, terminal);
}

int run_line(std::span<const std::string> arguments, const Surroundings& surroundings,
             const Terminal& terminal) {
  CommandLine line(surroundings.server.empty() ? default_server : surroundings.server);
  if (!arguments.empty() && arguments.front() == complete_command) {
    complete(line, arguments.subspan(1), terminal);
    return exit_done;
  }
  try {
    line.parse(arguments);
  } catch (const CLI::Success& request) {  // --help, --version
    line.app().exit(request, terminal.out, terminal.errors);
    return exit_done;
  } catch (const CLI::ParseError& error) {
    return explain_usage(line, error, arguments, terminal);
  }
  try {
    const Result<int> code = run_chosen(line, surroundings, terminal);
    if (code) return *code;
    terminal.errors << fmt::format("icbd: {}\n", printable(code.error().message()));
    return exit_code_of(code.error());
  } catch (const nlohmann::json::exception& error) {
    terminal.errors << fmt::format("icbd: {} answered in a form that is not known here: {}\n",
                                   line.server(), error.what());
    return exit_failed;
  }
}

}  // namespace

ExitCode exit_code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return exit_usage;
    case ErrorCode::unavailable:
      return exit_unreachable;
    case ErrorCode::not_found:
      return exit_not_found;
    case ErrorCode::busy:
      return exit_refused;
    case ErrorCode::cancelled:
      return exit_interrupted;
    default:
      return exit_failed;
  }
}

int run(std::span<const std::string> arguments, const Surroundings& surroundings,
        const Terminal& terminal) {
  const int code = run_line(arguments, surroundings, terminal);
  if (terminal.out.flush()) return code;
  terminal.errors << "icbd: standard output could not be written: what stands there is not all\n";
  return code == exit_done ? int{exit_failed} : code;
}

}  // namespace icbd::cli
