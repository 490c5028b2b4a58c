// A terminal that remembers what it was shown, for tests of the command line.
#pragma once

#include <functional>
#include <sstream>
#include <string>

#include "icbd/cli/terminal.h"

namespace icbd::cli::testing {

struct FakeTerminal {
  // Pauses take no time but on the clock; `on_pause` may change the world meanwhile, and return
  // false to leave.
  Terminal terminal(bool interactive = false, unsigned width = 80) {
    return {.out = out,
            .errors = errors,
            .interactive = interactive,
            .colours = colours,
            .width = width,
            .clock = clock,
            .pause = [this](std::chrono::milliseconds duration) {
              clock.advance(duration);
              return on_pause();
            }};
  }

  bool colours = false;
  std::ostringstream out;
  std::ostringstream errors;
  ManualClock clock;
  std::function<bool()> on_pause = [] { return true; };
};

}  // namespace icbd::cli::testing
