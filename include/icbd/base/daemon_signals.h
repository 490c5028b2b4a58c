// The signals that tell a daemon what to do, taken by one thread that waits for them: SIGTERM and
// SIGINT (end), SIGHUP (read the configuration again), SIGUSR2 (end, and leave the work to the
// process that comes next).
//
// Lifecycle: construct in main() before any thread is started, so that all inherit the block; then
// wait. Signals stay blocked afterwards: a second one does not cut a clean stop short.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>

namespace icbd {

enum class DaemonSignal : std::uint8_t { none, stop, reload, hand_over };

class DaemonSignals {
 public:
  DaemonSignals();
  DaemonSignal wait();
  // `none` if nothing came within that time.
  DaemonSignal wait_for(std::chrono::microseconds time);

 private:
  sigset_t signals_{};
};

}  // namespace icbd
