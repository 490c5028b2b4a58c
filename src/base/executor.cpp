#include "icbd/base/executor.h"

#include <pthread.h>

#include <system_error>

namespace icbd {

Executor::Executor(const std::string& name, unsigned threads)
    : name_(name.substr(0, 15)), most_threads_(threads) {
  const std::lock_guard lock(mutex_);
  add_thread();
}

Executor::~Executor() {
  stop();
}

void Executor::post_after(std::chrono::milliseconds delay, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push({std::chrono::steady_clock::now() + delay, next_order_++, std::move(task)});
    add_thread_if_needed();
  }
  changed_.notify_one();
}

// With mutex_ held. A process that has just started makes no threads that it may never need.
void Executor::add_thread_if_needed() {
  if (queue_.size() <= idle_ || threads_.size() >= most_threads_) return;
  try {
    add_thread();
  } catch (const std::system_error&) {
    return;  // those that there are will get to it
  }
}

// With mutex_ held.
void Executor::add_thread() {
  threads_.emplace_back([this] {
    pthread_setname_np(pthread_self(), name_.c_str());
    run();
  });
  ++idle_;  // it counts from now on: more tasks may come before it runs
}

void Executor::stop() {
  std::vector<std::jthread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  changed_.notify_all();
  threads.clear();                     // joins
  std::priority_queue<Entry> dropped;  // destroyed after the lock is let go: tasks may post
  {
    const std::lock_guard lock(mutex_);
    std::swap(dropped, queue_);
  }
}

void Executor::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      changed_.wait(lock);
      continue;
    }
    if (const Instant due = queue_.top().due; due > std::chrono::steady_clock::now()) {
      changed_.wait_until(lock, due);
      continue;
    }
    Task task = std::move(const_cast<Entry&>(queue_.top()).task);
    queue_.pop();
    --idle_;
    lock.unlock();
    task();
    task = nullptr;  // what it holds is let go before the lock is taken again
    lock.lock();
    ++idle_;
  }
}

}  // namespace icbd
