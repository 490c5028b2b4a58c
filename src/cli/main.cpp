// icbd: the command line for people and scripts.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "icbd/cli/cli.h"

#include "interrupts.h"

namespace {

using namespace icbd;

unsigned terminal_width() {
  constexpr unsigned usual_width = 80;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return usual_width;
  return size.ws_col;
}

std::string_view environment(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread runs yet.
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// https://no-color.org: set and not empty, whatever it says.
bool wants_colours() {
  return isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR").empty() &&
         environment("TERM") != "dumb";
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const cli::Surroundings surroundings = [] {
    std::error_code ignored;  // then a relative path stays one, and the master refuses it
    return cli::Surroundings{.server = std::string(environment("ICBD_SERVER")),
                             .working_directory = std::filesystem::current_path(ignored),
                             .input_fd = STDIN_FILENO,
                             .output_fd = STDOUT_FILENO};
  }();
  const SystemClock clock;
  cli::Interrupts interrupts;
  const cli::Terminal terminal{
      .out = std::cout,
      .errors = std::cerr,
      .interactive = isatty(STDOUT_FILENO) == 1,
      .errors_interactive = isatty(STDERR_FILENO) == 1,
      .colours = wants_colours(),
      .width = terminal_width(),
      .clock = clock,
      .pause = [&](std::chrono::milliseconds duration) { return interrupts.pause(duration); }};
  return cli::run(arguments, surroundings, terminal);
}
