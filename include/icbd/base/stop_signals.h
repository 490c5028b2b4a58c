// SIGTERM and SIGINT, taken by one thread that waits for them.
//
// Lifecycle: construct in main() before any thread is started, so that all inherit the block; then
// wait(). Signals stay blocked afterwards: a second one does not cut a clean stop short.
#pragma once

#include <csignal>

namespace icbd {

class StopSignals {
 public:
  StopSignals();
  // Returns the signal's number.
  int wait();

 private:
  sigset_t signals_{};
};

}  // namespace icbd
