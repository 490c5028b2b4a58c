#include "icbd/base/executor.h"

#include <pthread.h>

namespace icbd {

Executor::Executor(const std::string& name, unsigned threads) {
  for (unsigned i = 0; i < threads; ++i)
    threads_.emplace_back([this, name] {
      pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
      run();
    });
}

Executor::~Executor() {
  stop();
}

void Executor::post_after(std::chrono::milliseconds delay, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push({std::chrono::steady_clock::now() + delay, next_order_++, std::move(task)});
  }
  changed_.notify_one();
}

void Executor::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  threads_.clear();                    // joins
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
    lock.unlock();
    task();
    task = nullptr;  // what it holds is let go before the lock is taken again
    lock.lock();
  }
}

}  // namespace icbd
