#include "icbd/replicator/replicator.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/replicator/shape.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

constexpr auto shape_retry_interval = 250ms;
// Each holds a descriptor: a walk over thousands of versions must not use up the process's.
constexpr std::size_t most_opened = 256;

bool is_temporary(const Error& error) {
  return error.code() == ErrorCode::unavailable || error.code() == ErrorCode::timed_out;
}

std::string name_of(const catalog::Version& version) {
  return fmt::format("{}@{}", version.facts.image, version.facts.number.value());
}

}  // namespace

Replicator::Replicator(repository::Repository& repository, source::Source& source,
                       const Clock& clock, ReplicatorOptions options, Logger logger)
    : repository_(repository),
      source_(source),
      clock_(clock),
      options_(options),
      logger_(std::move(logger)),
      demand_("icbd-demand", options.demand_threads),
      timers_("icbd-timers", 1),
      shapes_("icbd-shapes", 2),
      context_{repository_, source_, clock_, logger_, demand_, timers_, options_.fetch_timeout},
      local_(repository_),
      table_(std::make_shared<VersionTable>()) {}

Replicator::~Replicator() {
  stop();
}

Status Replicator::start() {
  ICBD_TRY(reload_table());
  ICBD_TRY(resume_arrivals());
  ICBD_TRY(follow_once());
  follower_ = std::jthread([this](std::stop_token stop) { follow(stop); });
  filler_ = std::jthread([this](std::stop_token stop) { run_fills(stop); });
  return {};
}

void Replicator::stop() {
  std::unordered_map<VersionSerial, Opening> opening;
  std::vector<std::shared_ptr<Arrival>> arrivals;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
    opening.swap(opening_);
    for (const auto& [serial, opened] : opened_)
      if (opened->arrival) arrivals.push_back(opened->arrival);
  }
  follower_.request_stop();
  filler_.request_stop();
  changed_.notify_all();
  for (auto& [serial, entry] : opening)
    for (auto& done : entry.waiting) done(fail(ErrorCode::cancelled, "the cache is stopping"));
  for (const auto& arrival : arrivals) arrival->stop();
  if (follower_.joinable()) follower_.join();
  if (filler_.joinable()) filler_.join();
  shapes_.stop();
  demand_.stop();
  timers_.stop();
  for (const auto& arrival : arrivals)
    if (const Status saved = arrival->checkpoint(); !saved)
      logger_->warn(
          "{}: the state of the arrival could not be saved, some bytes will be fetched "
          "again: {}",
          name_of(arrival->version()), saved.error().message());
}

// ---- what exists ---------------------------------------------------------------------------

Status Replicator::reload_table() {
  auto table = std::make_shared<VersionTable>();
  ICBD_ASSIGN(table->images, repository_.catalog().images());
  ICBD_ASSIGN(table->versions, repository_.catalog().versions());
  const std::lock_guard lock(mutex_);
  by_serial_.clear();
  for (catalog::Version& version : table->versions) {
    // Arriving begins when the shape is readable; the catalog hears of it a moment later.
    if (const auto opened = opened_.find(version.serial);
        opened != opened_.end() && opened->second->arrival &&
        version.state == catalog::VersionState::remote)
      version.state = catalog::VersionState::arriving;
    by_serial_.emplace(version.serial, version);
  }
  table_ = std::move(table);
  return {};
}

// With mutex_ held. The catalog hears of it when the shape is durable.
void Replicator::mark_arriving(VersionSerial serial) {
  by_serial_.at(serial).state = catalog::VersionState::arriving;
  auto table = std::make_shared<VersionTable>(*table_);
  for (catalog::Version& version : table->versions)
    if (version.serial == serial) version.state = catalog::VersionState::arriving;
  table_ = std::move(table);
}

std::shared_ptr<const VersionTable> Replicator::versions() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

std::optional<catalog::Version> Replicator::find(VersionSerial serial) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_serial_.find(serial);
  if (found == by_serial_.end()) return std::nullopt;
  return found->second;
}

SourceStatus Replicator::source_status() const {
  const std::lock_guard lock(mutex_);
  return source_status_;
}

// ---- following the source ------------------------------------------------------------------

// An unreachable source is not an error: what is here is served.
Status Replicator::follow_once() {
  const auto snapshot = source_.catalog(change_number_);
  SourceStatus status;
  {
    const std::lock_guard lock(mutex_);
    status = source_status_;
  }
  if (!snapshot) {
    if (status.reachable || status.error.empty())
      logger_->error("the master cannot be reached: {}; what is complete is served, trying again",
                     snapshot.error().message());
    status.reachable = false;
    status.error = snapshot.error().message();
  } else {
    if (!status.reachable) logger_->info("the master is reached");
    status.reachable = true;
    status.error.clear();
    if (*snapshot) {
      const source::CatalogSnapshot& catalog = **snapshot;
      status.repository = catalog.repository;
      const auto known = versions();
      for (const std::string& image : catalog.images)
        if (!std::binary_search(known->images.begin(), known->images.end(), image))
          if (const Status added = repository_.catalog().add_image(image); !added)
            logger_->warn("image {}: {}", image, added.error().message());
      for (const catalog::VersionFacts& facts : catalog.versions) add_remote(facts);
      change_number_ = catalog.change_number;
      ICBD_TRY(reload_table());
    }
  }
  const std::lock_guard lock(mutex_);
  source_status_ = std::move(status);
  return {};
}

void Replicator::add_remote(const catalog::VersionFacts& facts) {
  const auto known = versions();
  const auto same = std::find_if(
      known->versions.begin(), known->versions.end(), [&](const catalog::Version& version) {
        return version.facts.image == facts.image && version.facts.number == facts.number;
      });
  if (same != known->versions.end()) {
    if (same->facts.manifest != facts.manifest || same->facts.uuid != facts.uuid)
      logger_->error(
          "{}: the master now has other content under this number (manifest {}, here "
          "{}); it is refused and the old content is kept. Was the master restored "
          "from a backup?",
          name_of(*same), facts.manifest.to_string(), same->facts.manifest.to_string());
    return;
  }
  const auto added = repository_.catalog().add_version(facts, catalog::VersionState::remote);
  if (!added)
    logger_->error("{}@{} of the master is refused: {}", facts.image, facts.number.value(),
                   added.error().message());
  else
    logger_->info("{}@{} is new on the master", facts.image, facts.number.value());
}

void Replicator::follow(std::stop_token stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, options_.poll_interval, [] { return false; });
    }
    if (stop.stop_requested()) return;
    if (const Status followed = follow_once(); !followed)
      logger_->error("the catalog cannot be brought up to date: {}", followed.error().message());
  }
}

// ---- looking inside ------------------------------------------------------------------------

std::shared_ptr<const OpenedVersion> Replicator::opened(VersionSerial serial) {
  catalog::Version version;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = opened_.find(serial); found != opened_.end()) return found->second;
    const auto known = by_serial_.find(serial);
    if (known == by_serial_.end() || known->second.state != catalog::VersionState::complete)
      return nullptr;
    version = known->second;
  }
  auto subvolume =
      Staging::open(repository_.version_path(version.facts.image, version.facts.number));
  if (!subvolume) {
    logger_->error("{} is complete in the catalog but cannot be opened: {}", name_of(version),
                   subvolume.error().message());
    return nullptr;
  }
  auto opened = std::make_shared<const OpenedVersion>(
      OpenedVersion{version, nullptr, std::make_shared<Staging>(std::move(*subvolume))});
  const std::lock_guard lock(mutex_);
  if (opened_.size() >= most_opened) forget_one_complete();
  return opened_.try_emplace(serial, std::move(opened)).first->second;
}

// With mutex_ held. Whoever uses it keeps it; it is opened again when it is asked for.
void Replicator::forget_one_complete() {
  const auto found = std::find_if(opened_.begin(), opened_.end(),
                                  [](const auto& entry) { return !entry.second->arrival; });
  if (found != opened_.end()) opened_.erase(found);
}

void Replicator::open(VersionSerial serial, OpenDone done) {
  if (auto opened_version = opened(serial)) return done(std::move(opened_version));
  bool begin = false;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = opened_.find(serial); found != opened_.end()) {
      // Just came; answered below, without the lock.
    } else if (!stopping_ && by_serial_.contains(serial) &&
               by_serial_.at(serial).state != catalog::VersionState::complete) {
      const auto [place, added] = opening_.try_emplace(serial);
      if (added) place->second.deadline = clock_.now() + options_.fetch_timeout;
      place->second.waiting.push_back(std::move(done));
      done = nullptr;
      begin = added;
    }
  }
  if (begin) shapes_.post([this, serial] { fetch_shape_of(serial); });
  if (!done) return;
  if (auto opened_version = opened(serial)) return done(std::move(opened_version));
  done(fail(ErrorCode::not_found, "no such version, or it cannot be opened"));
}

std::vector<catalog::Version> Replicator::parent_candidates(const catalog::Version& version) const {
  std::vector<catalog::Version> candidates;
  // Held for the loop: the table may be replaced at any moment.
  const auto table = versions();
  for (const catalog::Version& other : table->versions)
    if (other.facts.image == version.facts.image && other.state == catalog::VersionState::complete)
      candidates.push_back(other);
  const auto distance = [&](const catalog::Version& other) {
    const std::int64_t apart =
        std::int64_t{other.facts.number.value()} - std::int64_t{version.facts.number.value()};
    return apart < 0 ? -2 * apart : 2 * apart + 1;  // of equally near ones the older first
  };
  std::sort(candidates.begin(), candidates.end(),
            [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
  return candidates;
}

void Replicator::fetch_shape_of(VersionSerial serial) {
  const auto version = find(serial);
  if (!version) return finish_opening(serial, fail(ErrorCode::not_found, "no such version"));
  auto content = fetch_shape(repository_, local_, source_, *version, parent_candidates(*version),
                             options_.policy);
  if (!content) {
    bool again = false;
    {
      const std::lock_guard lock(mutex_);
      const auto opening = opening_.find(serial);
      again = is_temporary(content.error()) && !stopping_ && opening != opening_.end() &&
              clock_.now() < opening->second.deadline;
    }
    if (again)
      return shapes_.post_after(shape_retry_interval, [this, serial] { fetch_shape_of(serial); });
    if (content.error().code() != ErrorCode::cancelled)
      logger_->error("{}: the shape cannot be had: {}", name_of(*version),
                     content.error().message());
    if (const Status discarded = repository_.discard_arrival(*version); !discarded)
      logger_->warn("{}: {}", name_of(*version), discarded.error().message());
    return finish_opening(serial, std::unexpected(content.error()));
  }
  auto arrival = Arrival::make(context_, std::move(*content));
  auto opened = std::make_shared<const OpenedVersion>(OpenedVersion{*version, arrival, nullptr});
  {
    const std::lock_guard lock(mutex_);
    opened_.insert_or_assign(serial, opened);
    mark_arriving(serial);
  }
  // Readers first: what they wait for must not wait for a disk.
  finish_opening(serial, opened);
  const Status committed = arrival->commit_shape();
  if (!committed) {
    arrival->set_failure(committed.error().message());
    logger_->error("{}: the shape cannot be made durable: {}", name_of(*version),
                   committed.error().message());
  }
  if (const Status reloaded = reload_table(); !reloaded)
    logger_->error("{}", reloaded.error().message());
  logger_->info("{} is arriving", name_of(*version));
  // Nothing in it has bytes: nobody will ever read from it, and nothing is missing.
  if (arrival->content().chunks().count() == 0) want(serial);
}

void Replicator::finish_opening(VersionSerial serial,
                                Result<std::shared_ptr<const OpenedVersion>> result) {
  std::vector<OpenDone> waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto opening = opening_.find(serial);
    if (opening == opening_.end()) return;
    waiting = std::move(opening->second.waiting);
    opening_.erase(opening);
  }
  for (auto& done : waiting) done(result);
}

Status Replicator::resume_arrivals() {
  const auto table = versions();
  for (const catalog::Version& version : table->versions) {
    if (version.state != catalog::VersionState::arriving || !version.shaped) continue;
    auto content = resume_content(repository_, local_, source_, version);
    if (!content) {
      logger_->warn("{}: the arrival cannot go on and begins again: {}", name_of(version),
                    content.error().message());
      ICBD_TRY(repository_.discard_arrival(version));
      continue;
    }
    auto arrival = Arrival::make(context_, std::move(*content));
    const std::lock_guard lock(mutex_);
    opened_.emplace(version.serial, std::make_shared<const OpenedVersion>(
                                        OpenedVersion{version, arrival, nullptr}));
    wanted_.push_back(version.serial);
    logger_->info("{} goes on arriving", name_of(version));
  }
  return reload_table();
}

// ---- filling -------------------------------------------------------------------------------

void Replicator::want(VersionSerial serial) {
  {
    const std::lock_guard lock(mutex_);
    if (std::find(wanted_.begin(), wanted_.end(), serial) != wanted_.end()) return;
    const auto opened = opened_.find(serial);
    if (opened == opened_.end() || !opened->second->arrival) return;
    wanted_.push_back(serial);
  }
  changed_.notify_all();
}

void Replicator::run_fills(std::stop_token stop) {
  auto backoff = 100ms;
  while (true) {
    std::shared_ptr<Arrival> arrival;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !wanted_.empty(); });
      if (stop.stop_requested()) return;
      const auto opened = opened_.find(wanted_.front());
      if (opened != opened_.end()) arrival = opened->second->arrival;
    }
    const Status filled = arrival ? fill_and_land(arrival, stop) : Status();
    std::unique_lock lock(mutex_);
    if (!filled && is_temporary(filled.error())) {
      changed_.wait_for(lock, stop, backoff, [] { return false; });
      backoff = std::min(backoff * 2, std::chrono::milliseconds(5'000));
      continue;
    }
    backoff = 100ms;
    wanted_.pop_front();
  }
}

// Chunks of the parent, and of the newest complete versions of the image: versions that came while
// this one was waiting may hold most of it.
Result<std::vector<std::shared_ptr<const DigestIndex>>> Replicator::indexes_for(
    const Arrival& arrival) {
  constexpr std::size_t most_indexes = 2;
  std::vector<std::shared_ptr<const DigestIndex>> indexes;
  for (const catalog::Version& candidate : parent_candidates(arrival.version())) {
    if (indexes.size() == most_indexes) break;
    ICBD_ASSIGN(auto local, local_.open(candidate));
    ICBD_ASSIGN(DigestIndex index, DigestIndex::build(std::move(local)));
    indexes.push_back(std::make_shared<const DigestIndex>(std::move(index)));
  }
  return indexes;
}

Status Replicator::fill_and_land(const std::shared_ptr<Arrival>& arrival, std::stop_token stop) {
  const catalog::Version& version = arrival->version();
  const auto failed = [&](const Error& error) {
    if (error.code() != ErrorCode::cancelled) {
      arrival->set_failure(error.message());
      logger_->error("{}: {}", name_of(version), error.message());
    }
    return std::unexpected(error);
  };
  if (const Status committed = arrival->commit_shape(); !committed)
    return failed(committed.error());
  const auto indexes = indexes_for(*arrival);
  if (!indexes) return failed(indexes.error());
  if (const Status filled = arrival->fill(stop, *indexes); !filled)
    return is_temporary(filled.error()) ? filled : failed(filled.error());
  if (const Status landed = arrival->land(); !landed) return failed(landed.error());

  auto subvolume =
      Staging::open(repository_.version_path(version.facts.image, version.facts.number));
  if (!subvolume) return failed(subvolume.error());
  ICBD_ASSIGN(const catalog::Version complete, repository_.catalog().version(version.serial));
  // Most likely the next version's parent: opened now, while its manifest is at hand.
  if (const auto local = local_.open(complete); !local) return failed(local.error());
  {
    const std::lock_guard lock(mutex_);
    opened_.insert_or_assign(
        version.serial, std::make_shared<const OpenedVersion>(OpenedVersion{
                            complete, nullptr, std::make_shared<Staging>(std::move(*subvolume))}));
  }
  return reload_table();
}

std::vector<std::pair<catalog::Version, ArrivalProgress>> Replicator::arriving() const {
  std::vector<std::shared_ptr<const OpenedVersion>> opened;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [serial, version] : opened_)
      if (version->arrival) opened.push_back(version);
  }
  std::vector<std::pair<catalog::Version, ArrivalProgress>> all;
  for (const auto& version : opened)
    all.emplace_back(version->version, version->arrival->progress());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.facts.image, a.first.facts.number) <
           std::pair(b.first.facts.image, b.first.facts.number);
  });
  return all;
}

}  // namespace icbd::replicator
