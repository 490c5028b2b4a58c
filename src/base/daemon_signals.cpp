#include "icbd/base/daemon_signals.h"

#include <ctime>

namespace icbd {
namespace {

DaemonSignal meaning_of(int signal) {
  if (signal == SIGUSR2) return DaemonSignal::hand_over;
  return signal == SIGHUP ? DaemonSignal::reload : DaemonSignal::stop;
}

}  // namespace

DaemonSignals::DaemonSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGHUP);
  sigaddset(&signals_, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

DaemonSignal DaemonSignals::wait() {
  int signal = 0;
  sigwait(&signals_, &signal);
  return meaning_of(signal);
}

DaemonSignal DaemonSignals::wait_for(std::chrono::microseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const std::chrono::nanoseconds rest = time - seconds;
  const timespec limit{.tv_sec = static_cast<std::time_t>(seconds.count()),
                       .tv_nsec = static_cast<long>(rest.count())};
  // A signal that is handled ends the wait early (EINTR): for the caller as if time had passed.
  const int signal = sigtimedwait(&signals_, nullptr, &limit);
  return signal < 0 ? DaemonSignal::none : meaning_of(signal);
}

}  // namespace icbd
