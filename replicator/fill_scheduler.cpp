#include "icbd/replicator/fill_scheduler.h"

#include <algorithm>

namespace icbd::replicator {
namespace {

// A wake-up that no entry asked for.
constexpr auto idle = std::chrono::hours(1);

bool is_temporary(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::timed_out;
}

// Errors that are waited out alike.
ErrorCode kind_of(ErrorCode code) {
  if (is_temporary(code)) return ErrorCode::unavailable;
  return code == ErrorCode::no_space ? code : ErrorCode::io;
}

}  // namespace

void FillScheduler::start() {
  for (unsigned i = 0; i < options_.images_at_once; ++i)
    threads_.emplace_back([this](std::stop_token stop) { work(stop); });
}

void FillScheduler::stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();  // joins
}

void FillScheduler::add(VersionSerial serial, const std::string& image, FillReason reason) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = std::ranges::find(queue_, serial, &Entry::serial);
    if (known != queue_.end()) {
      known->reason = std::max(known->reason, reason);
      return;
    }
    queue_.push_back(
        {.serial = serial, .image = image, .reason = reason, .failed = {}, .backoff = {}});
  }
  changed_.notify_all();
}

void FillScheduler::remove(VersionSerial serial) {
  std::unique_lock lock(mutex_);
  const auto find = [&] { return std::ranges::find(queue_, serial, &Entry::serial); };
  if (const auto entry = find(); entry != queue_.end()) entry->stop.request_stop();
  changed_.wait(lock, [&] {
    const auto entry = find();
    return entry == queue_.end() || !entry->running;
  });
  if (const auto entry = find(); entry != queue_.end()) queue_.erase(entry);
}

void FillScheduler::retry_now() {
  {
    const std::lock_guard lock(mutex_);
    ++retries_;
    for (Entry& entry : queue_) {
      entry.due = {};
      if (entry.backoff) entry.backoff->reset();
    }
  }
  changed_.notify_all();
}

// With mutex_ held. The end if nothing may begin; `wake_at` is then brought forward to when.
FillScheduler::Queue::iterator FillScheduler::next_due(Instant now, Instant& wake_at) {
  auto best = queue_.end();
  for (auto entry = queue_.begin(); entry != queue_.end(); ++entry) {
    if (entry->running || entry->stop.stop_requested()) continue;
    const bool image_busy = std::ranges::any_of(
        queue_, [&](const Entry& other) { return other.running && other.image == entry->image; });
    if (image_busy) continue;
    if (entry->due > now)
      wake_at = std::min(wake_at, entry->due);
    else if (best == queue_.end() || entry->reason > best->reason)
      best = entry;
  }
  return best;
}

void FillScheduler::work(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const Instant now = std::chrono::steady_clock::now();
    Instant wake_at = now + idle;
    const auto entry = next_due(now, wake_at);
    if (entry == queue_.end()) {
      changed_.wait_until(lock, stop, wake_at, [&, at = wake_at] {
        Instant sooner = at;
        return next_due(std::chrono::steady_clock::now(), sooner) != queue_.end() || sooner < at;
      });
      continue;
    }
    entry->running = true;
    const std::uint64_t retries = retries_;
    std::stop_source ends = entry->stop;
    lock.unlock();
    Status filled;
    {
      const std::stop_callback all_end(stop, [&] { ends.request_stop(); });
      filled = fill_(entry->serial, ends.get_token());
    }
    lock.lock();
    entry->running = false;
    if (filled) {
      queue_.erase(entry);
    } else {
      put_back(*entry, filled.error());
      if (retries != retries_) entry->due = {};
    }
    changed_.notify_all();
  }
}

const FillScheduler::Options::Waits& FillScheduler::waits_for(ErrorCode kind) const {
  if (kind == ErrorCode::unavailable) return options_.source_away;
  return kind == ErrorCode::no_space ? options_.no_space : options_.others;
}

// With mutex_ held.
void FillScheduler::put_back(Entry& entry, const Error& error) {
  const ErrorCode kind = kind_of(error.code());
  if (entry.failed != kind || !entry.backoff) {
    const Options::Waits& waits = waits_for(kind);
    entry.backoff.emplace(waits.shortest, waits.longest);
    entry.failed = kind;
  }
  entry.due = std::chrono::steady_clock::now() + entry.backoff->next();
}

}  // namespace icbd::replicator
