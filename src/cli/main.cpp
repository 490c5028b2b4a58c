// icbd: the command line for people and scripts.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "icbd/cli/cli.h"

namespace {

unsigned terminal_width() {
  constexpr unsigned usual_width = 80;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return usual_width;
  return size.ws_col;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread runs yet.
  const char* const server = std::getenv("ICBD_SERVER");
  std::error_code ignored;  // then a relative path stays one, and the master refuses it
  const icbd::SystemClock clock;
  const icbd::cli::Terminal terminal{.out = std::cout,
                                     .errors = std::cerr,
                                     .interactive = isatty(STDOUT_FILENO) == 1,
                                     .errors_interactive = isatty(STDERR_FILENO) == 1,
                                     .width = terminal_width(),
                                     .clock = clock,
                                     .pause = [](std::chrono::milliseconds duration) {
                                       std::this_thread::sleep_for(duration);
                                       return true;
                                     }};
  return icbd::cli::run(arguments,
                        {.server = server == nullptr ? "" : server,
                         .working_directory = std::filesystem::current_path(ignored),
                         .input_fd = STDIN_FILENO},
                        terminal);
}
