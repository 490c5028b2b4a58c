#include "interrupts.h"

#include <pthread.h>
#include <unistd.h>

#include "icbd/cli/cli.h"

namespace icbd::cli {

Interrupts::~Interrupts() {
  if (!taker_.joinable()) return;
  taker_.request_stop();
  // Only to wake it: the signal is blocked, and taken by its sigwait().
  ::pthread_kill(taker_.native_handle(), SIGTERM);
}

bool Interrupts::pause(std::chrono::milliseconds duration) {
  if (!taker_.joinable()) begin();
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [this] { return interrupted_; });
}

void Interrupts::begin() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  taker_ = std::jthread([this](const std::stop_token& stop) { take_signals(stop); });
}

void Interrupts::take_signals(const std::stop_token& stop) {
  while (true) {
    int signal = 0;
    if (::sigwait(&signals_, &signal) != 0 || stop.stop_requested()) return;
    const std::lock_guard lock(mutex_);
    if (interrupted_) ::_exit(exit_interrupted);
    interrupted_ = true;
    changed_.notify_all();
  }
}

}  // namespace icbd::cli
