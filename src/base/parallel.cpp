#include "icbd/base/parallel.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace icbd {
namespace {

bool start_another(std::vector<std::jthread>& threads, const std::function<void()>& work) {
  try {
    threads.emplace_back(work);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

Status in_parallel(std::size_t count, unsigned threads, const std::stop_token& stop,
                   const std::function<Status(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;  // guards the one below
  std::optional<Error> failure;
  const auto take = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      Status done = stop.stop_requested() ? fail(ErrorCode::cancelled, "stopping") : work(i);
      if (done) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::move(done).error();
      return;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < threads && i < count; ++i)
      if (!start_another(others, take)) break;  // those that there are do it all
    take();
  }
  if (failure) return std::unexpected(std::move(*failure));
  return {};
}

}  // namespace icbd
