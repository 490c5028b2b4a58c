// Threads that run tasks, now or after a delay.
//
// Lifecycle: the constructor starts one thread; another one starts when a task is posted that no
// idle one can take, until there are `threads` of them or the system gives no more. stop() (and the
// destructor) lets running tasks end and drops the ones that have not begun, destroying them
// without running them. A task owner that must be told keeps a destructor in the task.
// Guarantees: thread-safe. Tasks begin in the order of their due times; equal ones in the order
// they were posted. post() after stop() drops the task. Tasks must not throw; post() does not. The
// constructor throws std::system_error if there can be no thread at all.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

namespace icbd {

class Executor {
 public:
  using Task = std::function<void()>;

  // `name` shows in ps and gdb; the kernel keeps its first 15 characters.
  Executor(const std::string& name, unsigned threads);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void post(Task task) { post_after(std::chrono::milliseconds(0), std::move(task)); }
  void post_after(std::chrono::milliseconds delay, Task task);
  // Must not be called from a task.
  void stop();

 private:
  using Instant = std::chrono::steady_clock::time_point;
  struct Entry {
    Instant due;
    std::uint64_t order;
    Task task;
    bool operator<(const Entry& other) const {  // std::priority_queue keeps the greatest on top
      return due != other.due ? due > other.due : order > other.order;
    }
  };
  void add_thread_if_needed();
  void add_thread();
  void run();

  const std::string name_;
  const unsigned most_threads_;
  std::mutex mutex_;  // guards what is below
  std::condition_variable changed_;
  std::priority_queue<Entry> queue_;
  std::uint64_t next_order_ = 0;
  bool stopping_ = false;
  std::size_t idle_ = 0;  // threads that wait for a task, or for one to be due
  std::vector<std::jthread> threads_;
};

}  // namespace icbd
