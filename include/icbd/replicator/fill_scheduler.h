// Which arrivals are filled when.
//
// Purpose: arrivals are filled by reason, then in the order in which they were asked for, one per
// image at a time
// (the next version of an image mostly shares what the one before it brought), a few images at the
// same time. What fails is tried again by itself: soon if the source is away, later if the disk is
// full or the content stays damaged. A failing one holds up nobody else.
// Lifecycle: construct, start(), add(); stop() (and the destructor) asks the fills under way to
// end and waits for them. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/backoff.h"
#include "icbd/base/error.h"
#include "icbd/base/types.h"

namespace icbd::replicator {

// Why an arrival is filled; the later ones of these go before the earlier ones.
enum class FillReason : std::uint8_t {
  subscription,
  pull,    // a person waits
  reader,  // somebody reads from it
};

class FillScheduler {
 public:
  // Fills and lands one arrival; runs on a thread of the scheduler.
  using Fill = std::function<Status(VersionSerial, std::stop_token)>;
  struct Options {
    unsigned images_at_once = 2;
    // Waits before the next attempt, growing and jittered.
    struct Waits {
      std::chrono::milliseconds shortest, longest;
    };
    Waits source_away{std::chrono::milliseconds(100), std::chrono::milliseconds(5'000)};
    Waits no_space{std::chrono::milliseconds(500), std::chrono::milliseconds(3'000)};
    Waits others{std::chrono::milliseconds(1'000), std::chrono::milliseconds(300'000)};
  };

  explicit FillScheduler(Fill fill) : FillScheduler(std::move(fill), Options()) {}
  FillScheduler(Fill fill, Options options) : fill_(std::move(fill)), options_(options) {}
  ~FillScheduler() { stop(); }

  void start();
  void stop();
  // Queues it, once; a stronger reason than the one before moves it forward.
  void add(VersionSerial serial, const std::string& image, FillReason reason);
  // Takes it off the queue; a fill under way is asked to end, and waited for.
  void remove(VersionSerial serial);
  // The source is back, or there is room again: whoever waits goes on now.
  void retry_now();

 private:
  using Instant = std::chrono::steady_clock::time_point;
  struct Entry {
    VersionSerial serial;
    std::string image;
    FillReason reason = FillReason::reader;
    std::stop_source stop = {};
    bool running = false;
    Instant due{};  // not before
    std::optional<ErrorCode> failed;
    std::optional<Backoff> backoff;
  };
  using Queue = std::list<Entry>;

  void work(std::stop_token stop);
  Queue::iterator next_due(Instant now, Instant& wake_at);
  const Options::Waits& waits_for(ErrorCode kind) const;
  void put_back(Entry& entry, const Error& error);

  Fill fill_;
  Options options_;
  std::mutex mutex_;  // guards queue_
  std::condition_variable_any changed_;
  Queue queue_;
  std::uint64_t retries_ = 0;  // counts retry_now(), so that one during a fill is not lost
  std::vector<std::jthread> threads_;
};

}  // namespace icbd::replicator
