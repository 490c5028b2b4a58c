#include "icbd/pull/puller.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "icbd/base/backoff.h"
#include "icbd/base/quote.h"
#include "icbd/base/this_thread.h"

#include "choice.h"
#include "remote_machine.h"
#include "transfer.h"

namespace icbd::pull {

using catalog::Version;

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr unsigned images_at_once = 2;
// Between two attempts at a machine that cannot be reached.
constexpr milliseconds shortest_absence = 1s;
constexpr milliseconds longest_absence = 30s;
// The same at one snapshot; and after one that a policy or a limit forbids.
constexpr milliseconds shortest_retry = 1s;
constexpr milliseconds longest_retry = 5min;
constexpr milliseconds refused_pause = 1h;
// After so many failures in a row the next snapshot is tried meanwhile.
constexpr unsigned patience = 3;
// A command line there has at most 128 KiB (MAX_ARG_STRLEN, linux/binfmts.h).
constexpr std::size_t images_per_question = 256;

// A person has to do something first.
bool is_refusal(const Error& error) {
  switch (error.code()) {
    case ErrorCode::permission_denied:
    case ErrorCode::unsupported:
    case ErrorCode::too_large:
    case ErrorCode::already_exists:
      return true;
    default:
      return false;
  }
}

// What is known of one image there.
struct Image {
  std::string stamp;     // of the listing
  bool settled = false;  // it was listed twice with this stamp: nothing has changed in between
  bool listed = false;
  Listing listing;
};

struct Attempt {
  std::string image;
  std::string snapshot;
  Backoff backoff{shortest_retry, longest_retry};
  Clock::TimePoint not_before{};
  unsigned failures = 0;
  bool refused = false;
  std::string error;
};

struct Active {
  TransferRequest request;
  std::optional<VersionSerial> parent;
  TransferProgress progress;
  Clock::TimePoint started{};
};

// What this node has and wants of an image.
struct Local {
  std::vector<Version> versions;
  std::optional<catalog::Subscription> subscription;

  bool is_wanted() const { return subscription || std::ranges::any_of(versions, &Version::pulled); }
};

using LocalImages = std::map<std::string, Local>;

Result<LocalImages> look_at_catalog(const catalog::Catalog& catalog) {
  LocalImages images;
  ICBD_ASSIGN(auto versions, catalog.versions());
  for (Version& version : versions)
    images[version.facts.image].versions.push_back(std::move(version));
  ICBD_ASSIGN(const auto subscriptions, catalog.subscriptions());
  for (const catalog::Subscription& subscription : subscriptions)
    images[subscription.image].subscription = subscription;
  return images;
}

PullStatus describe(const Active& active, Clock::TimePoint now) {
  const TransferRequest& request = active.request;
  const TransferProgress& progress = active.progress;
  const auto since = [now](Clock::TimePoint then) {
    return std::chrono::duration_cast<milliseconds>(now - then);
  };
  PullStatus status{.image = request.image,
                    .snapshot = request.snapshot.name,
                    .number = VersionNumber(progress.number),
                    .parent = {},
                    .phase = progress.received ? PullPhase::hashing : PullPhase::receiving,
                    .bytes_received = progress.bytes,
                    .elapsed = since(active.started),
                    .silence = since(progress.last_byte)};
  if (request.parent) status.parent = request.parent->name;
  return status;
}

}  // namespace

std::string_view to_string(PullPhase phase) {
  return phase == PullPhase::receiving ? "receiving" : "hashing";
}

struct Puller::State {
  State(repository::Repository& in, const Clock& with, PullerOptions given, Logger to,
        std::function<void()> on_change)
      : repository(in),
        clock(with),
        options(std::move(given)),
        machine(options.machine),
        logger(std::move(to)),
        changed_catalog(std::move(on_change)),
        bandwidth(clock, options.bandwidth_limit),
        space_reserve(options.space_reserve),
        poll_interval(options.poll_interval) {}

  // The thread that looks at what is there.
  void watch(std::stop_token stop);
  Status look();
  Status add_images(const Images& there);
  std::vector<std::string> images_to_list(const Images& there, const LocalImages& local);
  void take_listings(const Images& there, const std::vector<std::string>& asked,
                     std::map<std::string, Listing> listings);
  void note_look(const Status& looked);

  // The threads that pull.
  void work(std::stop_token stop);
  std::shared_ptr<Active> next();
  const Snapshot* first_due(const std::vector<Snapshot>& wanted) const;
  std::shared_ptr<Active> begin(const std::string& image, const Snapshot& snapshot,
                                const std::vector<Snapshot>& there, const Local& local);
  void pull(Active& pulled);
  void note_failure(const Active& failed, const Error& why);

  ImageStatus describe(const std::string& name, const Image& image, const Local& local) const;

  repository::Repository& repository;
  const Clock& clock;
  const PullerOptions options;
  const RemoteMachine machine;
  Logger logger;
  std::function<void()> changed_catalog;
  RateLimit bandwidth;
  std::atomic<std::uint64_t> space_reserve;
  std::atomic<milliseconds> poll_interval;
  std::atomic<bool> stopping = false;

  mutable std::mutex mutex;  // guards what is below; the catalog is asked while it is held
  std::condition_variable_any changed;
  std::uint64_t news = 0;  // counts what may give the pulling threads something to do
  bool look_soon = false;
  bool reachable = false;
  std::string error;
  std::optional<Timestamp> last_contact;
  std::uint64_t stream_version = 1;
  std::vector<std::string> names;  // of all images there
  std::vector<std::string> skipped;
  std::map<std::string, Image> images;  // those that were looked at
  std::map<std::string, std::shared_ptr<Active>> active;
  std::map<Uuid, Attempt> attempts;  // that failed
  std::uint64_t bytes_received = 0;  // of transfers that have ended

  std::vector<std::jthread> threads;
};

// ---- what is there ---------------------------------------------------------------------------

void Puller::State::watch(std::stop_token stop) {
  Backoff backoff(shortest_absence, longest_absence);
  while (!stop.stop_requested()) {
    const Status looked = look();
    if (stopping) return;
    note_look(looked);
    if (looked) backoff.reset();
    const milliseconds pause = looked ? poll_interval.load() : backoff.next();
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, pause, [this] { return look_soon; });
    look_soon = false;
  }
}

Status Puller::State::look() {
  ICBD_ASSIGN(const Images there, machine.images(stopping));
  ICBD_TRY(add_images(there));
  ICBD_ASSIGN(const auto local, look_at_catalog(repository.catalog()));
  const std::vector<std::string> asked = images_to_list(there, local);
  std::map<std::string, Listing> listings;
  for (std::size_t begin = 0; begin < asked.size(); begin += images_per_question) {
    const std::size_t count = std::min(images_per_question, asked.size() - begin);
    ICBD_ASSIGN(auto some, machine.snapshots(std::span(asked).subspan(begin, count), stopping));
    listings.merge(some);
  }
  take_listings(there, asked, std::move(listings));
  return {};
}

// They show in the view at once, so that people see what they can subscribe to.
Status Puller::State::add_images(const Images& there) {
  ICBD_ASSIGN(const auto known, repository.catalog().images());
  bool added = false;
  for (const auto& [name, stamp] : there.stamps) {
    if (std::ranges::binary_search(known, name)) continue;
    ICBD_TRY(repository.catalog().add_image(name));
    added = true;
  }
  if (added) changed_catalog();
  return {};
}

// Those that somebody wants and that may have changed since they were listed.
std::vector<std::string> Puller::State::images_to_list(const Images& there,
                                                       const LocalImages& local) {
  std::vector<std::string> asked;
  const std::lock_guard lock(mutex);
  std::erase_if(images, [&](const auto& entry) {
    const auto here = local.find(entry.first);
    return !there.stamps.contains(entry.first) || here == local.end() || !here->second.is_wanted();
  });
  for (const auto& [name, here] : local) {
    const auto stamp = there.stamps.find(name);
    if (stamp == there.stamps.end() || !here.is_wanted()) continue;
    const Image& image = images[name];
    if (!image.settled || image.stamp != stamp->second || image.listing.unfinished)
      asked.push_back(name);
  }
  return asked;
}

void Puller::State::take_listings(const Images& there, const std::vector<std::string>& asked,
                                  std::map<std::string, Listing> listings) {
  const std::lock_guard lock(mutex);
  names.clear();
  for (const auto& [name, stamp] : there.stamps) names.push_back(name);
  skipped = there.skipped;
  stream_version = there.stream_version;
  for (const std::string& name : asked) {
    const auto listing = listings.find(name);
    if (listing == listings.end()) continue;
    Image& image = images[name];
    const std::string& stamp = there.stamps.at(name);
    // An entry that came within the same tick of the clock there has not changed the stamp.
    image.settled = image.listed && image.stamp == stamp;
    image.stamp = stamp;
    image.listed = true;
    image.listing = std::move(listing->second);
  }
  std::erase_if(attempts, [&](const auto& entry) {
    const auto image = images.find(entry.second.image);
    return image == images.end() ||
           std::ranges::find(image->second.listing.snapshots, entry.first, &Snapshot::identity) ==
               image->second.listing.snapshots.end();
  });
}

void Puller::State::note_look(const Status& looked) {
  const std::lock_guard lock(mutex);
  if (looked) {
    last_contact = clock.wall();
    error.clear();
    if (!std::exchange(reachable, true)) {
      logger->info("{} is reached: {} images", machine.address(), names.size());
      for (auto& [identity, attempt] : attempts)
        if (!attempt.refused) attempt.not_before = clock.now();
    }
  } else {
    reachable = false;
    if (error != looked.error().message())
      logger->error("{}: {}; what is here is served, trying again", machine.address(),
                    looked.error().message());
    error = looked.error().message();
  }
  ++news;
  changed.notify_all();
}

// ---- bringing it here --------------------------------------------------------------------------

void Puller::State::work(std::stop_token stop) {
  work_in_background();
  // A failed attempt becomes due without anybody saying so; all else is news.
  constexpr auto tick = 500ms;
  while (!stop.stop_requested()) {
    std::shared_ptr<Active> begun;
    {
      std::unique_lock lock(mutex);
      begun = next();
      if (!begun) {
        const auto is_news = [this, seen = news] { return news != seen; };
        if (attempts.empty())
          changed.wait(lock, stop, is_news);
        else
          changed.wait_for(lock, stop, tick, is_news);
        continue;
      }
    }
    pull(*begun);
  }
}

// With the mutex held.
std::shared_ptr<Active> Puller::State::next() {
  if (!reachable || stopping) return nullptr;
  const auto local = look_at_catalog(repository.catalog());
  if (!local) return nullptr;  // said by whoever else asks it
  for (const auto& [name, image] : images) {
    const auto here = local->find(name);
    if (active.contains(name) || !image.listed || here == local->end()) continue;
    const std::vector<Snapshot>& there = image.listing.snapshots;
    const Choice choice = choose(there, here->second.versions, here->second.subscription);
    if (const Snapshot* snapshot = first_due(choice.wanted))
      return begin(name, *snapshot, there, here->second);
  }
  return nullptr;
}

const Snapshot* Puller::State::first_due(const std::vector<Snapshot>& wanted) const {
  for (const Snapshot& snapshot : wanted) {
    const auto attempt = attempts.find(snapshot.identity());
    if (attempt == attempts.end() || attempt->second.not_before <= clock.now()) return &snapshot;
    if (!attempt->second.refused && attempt->second.failures < patience) return nullptr;
  }
  return nullptr;
}

std::shared_ptr<Active> Puller::State::begin(const std::string& image, const Snapshot& snapshot,
                                             const std::vector<Snapshot>& there,
                                             const Local& local) {
  auto begun = std::make_shared<Active>();
  const Snapshot* const parent = choose_parent(snapshot, there, local.versions);
  begun->request = {.image = image,
                    .snapshot = snapshot,
                    .parent = parent != nullptr ? std::optional(*parent) : std::nullopt,
                    .parent_number = {},
                    .from = machine.address(),
                    .packed = stream_version >= 2,
                    .policy = options.policy,
                    .space_reserve = space_reserve};
  for (const Version& version : local.versions) {
    if (parent == nullptr || version.facts.uuid != parent->identity()) continue;
    begun->parent = version.serial;
    begun->request.parent_number = version.facts.number;
  }
  begun->started = clock.now();
  begun->progress.last_byte = begun->started;
  active.emplace(image, begun);
  return begun;
}

void Puller::State::pull(Active& pulled) {
  const TransferRequest& request = pulled.request;
  logger->info("{}: {} is coming, {}", request.image, quote(request.snapshot.name),
               request.parent ? "against " + quote(request.parent->name) : "all of it");
  const auto report = transfer(repository, machine, request, clock, bandwidth, pulled.progress);
  if (report) {
    logger->info("{}@{} is complete: {} bytes received, {} bytes hashed, {} taken over",
                 request.image, report->version.facts.number.value(), pulled.progress.bytes.load(),
                 report->bytes_hashed, report->bytes_inherited);
    changed_catalog();
  }
  const std::lock_guard lock(mutex);
  bytes_received += pulled.progress.bytes;
  if (report)
    attempts.erase(request.snapshot.identity());
  else if (!stopping)
    note_failure(pulled, report.error());
  active.erase(request.image);
  ++news;
  changed.notify_all();
}

// With the mutex held. What is there may be another by now: it is looked at once more.
void Puller::State::note_failure(const Active& failed, const Error& why) {
  const TransferRequest& request = failed.request;
  Attempt& attempt = attempts[request.snapshot.identity()];
  if (attempt.error != why.message())
    logger->error("{}: {} could not be brought here: {}; it is tried again", request.image,
                  quote(request.snapshot.name), why.message());
  attempt.image = request.image;
  attempt.snapshot = request.snapshot.name;
  attempt.error = why.message();
  attempt.refused = is_refusal(why);
  ++attempt.failures;
  attempt.not_before = clock.now() + (attempt.refused ? refused_pause : attempt.backoff.next());
  look_soon = true;
}

// ---- for people --------------------------------------------------------------------------------

ImageStatus Puller::State::describe(const std::string& name, const Image& image,
                                    const Local& local) const {
  const std::vector<Snapshot>& there = image.listing.snapshots;
  Choice choice = choose(there, local.versions, local.subscription);
  ImageStatus status{.image = name,
                     .snapshots = there.size(),
                     .newest = {},
                     .newest_created = {},
                     .behind = choice.newer.size(),
                     .behind_since = {},
                     .wanted = choice.wanted.size(),
                     .gone = std::move(choice.gone),
                     .skipped = image.listing.skipped};
  if (!there.empty()) {
    status.newest = there.back().name;
    status.newest_created = there.back().created;
  }
  if (!choice.newer.empty()) status.behind_since = choice.newer.front().created;
  return status;
}

Puller::Puller(repository::Repository& repository, const Clock& clock, PullerOptions options,
               Logger logger, std::function<void()> changed)
    : state_(std::make_unique<State>(repository, clock, std::move(options), std::move(logger),
                                     std::move(changed))) {}

Puller::~Puller() {
  stop();
}

void Puller::start() {
  State& state = *state_;
  state.threads.emplace_back([&state](std::stop_token stop) { state.watch(stop); });
  for (unsigned i = 0; i < images_at_once; ++i)
    state.threads.emplace_back([&state](std::stop_token stop) { state.work(stop); });
}

void Puller::stop() {
  State& state = *state_;
  state.stopping = true;
  {
    const std::lock_guard lock(state.mutex);
    for (auto& [image, active] : state.active) active->progress.publishing.cancelled = true;
  }
  for (std::jthread& thread : state.threads) thread.request_stop();
  state.threads.clear();
}

void Puller::look_now() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->look_soon = true;
  }
  state_->changed.notify_all();
}

void Puller::reconfigure(const PullerOptions& options) {
  state_->poll_interval = options.poll_interval;
  state_->space_reserve = options.space_reserve;
  state_->bandwidth.set(options.bandwidth_limit);
  look_now();
}

PullerStatus Puller::status() const {
  const State& state = *state_;
  const std::lock_guard lock(state.mutex);
  PullerStatus status{.reachable = state.reachable,
                      .error = state.error,
                      .last_contact = state.last_contact,
                      .images = state.names,
                      .skipped = state.skipped,
                      .followed = {},
                      .pulls = {},
                      .failed = {},
                      .bytes_received = state.bytes_received};
  const auto local = look_at_catalog(state.repository.catalog());
  for (const auto& [name, image] : state.images)
    if (image.listed && local)
      if (const auto here = local->find(name); here != local->end())
        status.followed.push_back(state.describe(name, image, here->second));
  for (const auto& [image, active] : state.active)
    status.pulls.push_back(describe(*active, state.clock.now()));
  for (const PullStatus& pull : status.pulls) status.bytes_received += pull.bytes_received;
  for (const auto& [identity, attempt] : state.attempts)
    status.failed.push_back({.image = attempt.image,
                             .snapshot = attempt.snapshot,
                             .error = attempt.error,
                             .attempts = attempt.failures,
                             .refused = attempt.refused});
  return status;
}

std::optional<ImageStatus> Puller::image(const std::string& name) const {
  const State& state = *state_;
  const std::lock_guard lock(state.mutex);
  const auto image = state.images.find(name);
  const auto local = look_at_catalog(state.repository.catalog());
  if (image == state.images.end() || !image->second.listed || !local) return std::nullopt;
  const auto here = local->find(name);
  if (here == local->end()) return std::nullopt;
  return state.describe(name, image->second, here->second);
}

// Why the last attempt failed is said also during the next one: it may fail for the same reason.
std::string Puller::obstacle(const Version& version) const {
  const State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (!state.reachable) return state.error;
  const Uuid& identity = version.facts.uuid;
  if (const auto attempt = state.attempts.find(identity); attempt != state.attempts.end())
    return attempt->second.error;
  const auto image = state.images.find(version.facts.image);
  if (image == state.images.end() || !image->second.listed) return {};
  const std::vector<Snapshot>& there = image->second.listing.snapshots;
  if (std::ranges::find(there, identity, &Snapshot::identity) != there.end()) return {};
  return fmt::format("{} does not have that snapshot any more", state.machine.address());
}

bool Puller::needs(VersionSerial serial) const {
  const std::lock_guard lock(state_->mutex);
  return std::ranges::any_of(state_->active,
                             [&](const auto& entry) { return entry.second->parent == serial; });
}

}  // namespace icbd::pull
