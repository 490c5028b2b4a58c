#include "event_follower.h"

#include <condition_variable>
#include <mutex>

#include "icbd/base/backoff.h"
#include "icbd/rest/http.h"

namespace icbd::cache {
namespace {

using namespace std::chrono_literals;

constexpr auto connect_timeout = 3s;
// The master says something every 5 s.
constexpr auto longest_silence = 15s;

}  // namespace

EventFollower::EventFollower(std::string address, replicator::Replicator& replicator, Logger logger)
    : address_(std::move(address)),
      replicator_(replicator),
      logger_(std::move(logger)),
      thread_([this](std::stop_token stop) { follow(stop); }) {}

void EventFollower::follow(std::stop_token stop) {
  auto client = rest::HttpClient::make("http://" + address_);
  if (!client) return logger_->error("{}", client.error().message());
  client->set_timeout(connect_timeout);
  Backoff backoff(200ms, 3s);
  std::mutex mutex;
  std::condition_variable_any nothing;
  std::string said;
  while (!stop.stop_requested()) {
    const Status ended =
        client->follow("/api/events", stop, longest_silence, [&](const rest::Event&) {
          if (!said.empty()) logger_->info("the master {} announces again", address_);
          said.clear();
          backoff.reset();
          replicator_.source_announces(true);
        });
    replicator_.source_announces(false);
    if (stop.stop_requested()) return;
    if (said != ended.error().message())
      logger_->warn("{}; until the master announces again, its catalog is compared every second",
                    ended.error().message());
    said = ended.error().message();
    std::unique_lock lock(mutex);
    nothing.wait_for(lock, stop, backoff.next(), [] { return false; });
  }
}

}  // namespace icbd::cache
