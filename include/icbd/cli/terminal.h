// What a command line speaks to: two streams, a width, time. Tests hand in their own.
#pragma once

#include <chrono>
#include <functional>
#include <ostream>

#include "icbd/base/clock.h"

namespace icbd::cli {

struct Terminal {
  std::ostream& out;
  std::ostream& errors;
  bool interactive = false;         // `out` is a terminal: bars that move, tables that fit
  bool errors_interactive = false;  // `errors` is one
  bool colours = false;             // `out` shows them, and they are wanted
  unsigned width = 80;              // in columns
  const Clock& clock;
  // Waits; false if whoever sits there wants to stop.
  std::function<bool(std::chrono::milliseconds)> pause;
};

}  // namespace icbd::cli
