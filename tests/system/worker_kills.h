// Kills of the process that serves the view, under whoever reads through it.
#pragma once

#include <fmt/format.h>
#include <signal.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "system/site.h"

namespace icbd::system_test {

// 0 if there is none at the moment.
inline pid_t only_child_of(pid_t parent) {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", parent));
  pid_t child = 0;
  children >> child;
  return child;
}

// SIGKILL to the worker that serves now; returns when another one is there.
inline Status kill_worker(pid_t holder) {
  const pid_t victim = only_child_of(holder);
  if (victim != 0) ::kill(victim, SIGKILL);
  return Site::wait_until(
      [&] {
        const pid_t now = only_child_of(holder);
        return now != 0 && now != victim;
      },
      "the next worker");
}

// What the kernel could answer from is what it remembers of names, inodes and pages.
inline void make_the_kernel_forget() {
  std::ofstream("/proc/sys/vm/drop_caches") << 3 << std::flush;
}

// Lifecycle: kills from its construction on, every 50 to 150 ms, until stop(), the destructor, or
// `most` kills: what one request asks of the master, up to 2 MiB, is stored when all of it is here,
// and on a busy machine that may take longer than a worker lives.
class WorkerKills {
 public:
  WorkerKills(pid_t holder, unsigned seed, int most = 50)
      : thread_([this, holder, seed, most](const std::stop_token& stop) {
          std::mt19937 random(seed);
          while (!stop.stop_requested() && count_ < most) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 101));
            if (!kill_worker(holder)) {
              failed_ = true;
              return;
            }
            ++count_;
          }
        }) {}

  int count() const { return count_; }
  // No other worker has come.
  bool failed() const { return failed_; }
  void stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<int> count_ = 0;
  std::atomic<bool> failed_ = false;
  std::jthread thread_;  // the last member: it ends before what it uses
};

}  // namespace icbd::system_test
