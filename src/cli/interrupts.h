// SIGINT and SIGTERM, for a command that waits.
//
// Purpose: who interrupts a wait is told what goes on without them. Until the first pause, and for
// commands that never pause, signals end the process as they always do.
// Guarantees: a signal ends the pause under way, or the next one; a second signal ends the process
// at once, with the exit code for "interrupted".
#pragma once

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

namespace icbd::cli {

class Interrupts {
 public:
  Interrupts() = default;
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // False once there was a signal.
  bool pause(std::chrono::milliseconds duration);

 private:
  void begin();
  void take_signals(const std::stop_token& stop);

  sigset_t signals_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool interrupted_ = false;
  std::jthread taker_;
};

}  // namespace icbd::cli
