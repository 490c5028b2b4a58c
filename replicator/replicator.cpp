#include "icbd/replicator/replicator.h"

#include <algorithm>

#include "icbd/replicator/shape.h"

#include "describe.h"

namespace icbd::replicator {

std::span<const catalog::Version> VersionTable::of(const std::string& image) const {
  const auto range = std::ranges::equal_range(
      versions, image, {},
      [](const catalog::Version& version) -> const std::string& { return version.facts.image; });
  return {range.begin(), range.end()};
}

Replicator::Replicator(repository::Repository& repository, source::Source& source,
                       const Clock& clock, ReplicatorOptions options, Logger logger)
    : repository_(repository),
      gate_(source),
      space_(repository.directory_fd(), options.space_reserve),
      bandwidth_(clock, options.bandwidth_limit),
      clock_(clock),
      options_(options),
      live_{.fetch_timeout = options.fetch_timeout,
            .poll_interval = options.poll_interval,
            .offline_after = options.offline_after,
            .fill = options.fill,
            .fill_threshold = options.fill_threshold,
            .transfer = options.transfer},
      logger_(std::move(logger)),
      demand_("icbd-demand", options.demand_threads),
      timers_("icbd-timers", 1),
      shapes_("icbd-shapes", 2),
      context_{
          .repository = repository_,
          .source = gate_,
          .space = space_,
          .bandwidth = bandwidth_,
          .clock = clock_,
          .logger = logger_,
          .demand = demand_,
          .timers = timers_,
          .live = live_,
          .speeds = speeds_,
          .transfer_mode = [this](const std::string& image) { return transfer_mode_of(image); },
          .on_all_here =
              [this](const catalog::Version& version) {
                want(version.serial, FillReason::reader);
              }},
      local_(repository_),
      fills_([this](VersionSerial serial, std::stop_token stop) { return fill(serial, stop); },
             {.images_at_once = options_.images_at_once}),
      table_(std::make_shared<VersionTable>()) {}

void Replicator::reconfigure(const ReplicatorOptions& options) {
  live_.fetch_timeout = options.fetch_timeout;
  live_.poll_interval = options.poll_interval;
  live_.offline_after = options.offline_after;
  live_.fill = options.fill;
  live_.fill_threshold = options.fill_threshold;
  live_.transfer = options.transfer;
  bandwidth_.set(options.bandwidth_limit);
  space_.set_reserve(options.space_reserve);
  look_now();
  fills_.retry_now();  // there may be room now
}

Replicator::~Replicator() {
  stop();
}

Status Replicator::start() {
  ICBD_TRY(reload_table());
  resume_arrivals();
  if (options_.ask_source_first)
    ICBD_TRY(follow_once());
  else
    look_now();
  follower_ = std::jthread([this](std::stop_token stop) { follow(stop); });
  fills_.start();
  return {};
}

void Replicator::stop() {
  std::unordered_map<VersionSerial, Opening> opening;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
    opening.swap(opening_);
  }
  const auto arrivals = open_arrivals();
  follower_.request_stop();
  changed_.notify_all();
  for (auto& [serial, entry] : opening)
    for (auto& done : entry.waiting) done(fail(ErrorCode::cancelled, "the cache is stopping"));
  for (const auto& arrival : arrivals) arrival->stop();
  if (follower_.joinable()) follower_.join();
  fills_.stop();
  shapes_.stop();
  demand_.stop();
  timers_.stop();
  checkpoint();
}

void Replicator::checkpoint() {
  for (const auto& arrival : open_arrivals())
    if (const Status saved = arrival->checkpoint(); !saved)
      logger_->warn(
          "{}: the state of the arrival could not be saved, some bytes will be fetched "
          "again: {}",
          name_of(arrival->version()), saved.error().message());
}

// ---- what exists ---------------------------------------------------------------------------

// One at a time, from reading to showing: else what was read first could be shown last, and stay.
Status Replicator::reload_table() {
  const std::lock_guard reloading(reload_mutex_);
  auto table = std::make_shared<VersionTable>();
  ICBD_ASSIGN(table->images, repository_.catalog().images());
  ICBD_ASSIGN(table->versions, repository_.catalog().versions());
  ICBD_ASSIGN(table->tags, repository_.catalog().tags());
  ICBD_ASSIGN(table->subscriptions, repository_.catalog().subscriptions());
  std::unique_lock lock(mutex_);
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
  lock.unlock();
  if (observer_) observer_();
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
  const bool offline = gate_.closed().has_value();
  const std::lock_guard lock(mutex_);
  SourceStatus status = source_status_;
  status.offline = offline;
  return status;
}

std::vector<Refusal> Replicator::refusals() const {
  const std::lock_guard lock(mutex_);
  std::vector<Refusal> all;
  for (const catalog::Version& version : table_->versions)
    if (const auto found = refused_.find(version.serial); found != refused_.end())
      all.push_back({version, found->second});
  return all;
}

std::string Replicator::obstacle(VersionSerial serial) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = refused_.find(serial); found != refused_.end())
    return found->second.message();
  return source_status_.reachable ? std::string() : source_status_.error;
}

std::vector<std::shared_ptr<Arrival>> Replicator::open_arrivals() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Arrival>> arrivals;
  for (const auto& [serial, opened] : opened_)
    if (opened->arrival) arrivals.push_back(opened->arrival);
  return arrivals;
}

std::vector<std::pair<catalog::Version, ArrivalProgress>> Replicator::arriving() const {
  std::vector<std::pair<catalog::Version, ArrivalProgress>> all;
  for (const auto& arrival : open_arrivals())
    all.emplace_back(arrival->version(), arrival->progress());
  std::ranges::sort(all, [](const auto& a, const auto& b) {
    return std::pair(a.first.facts.image, a.first.facts.number) <
           std::pair(b.first.facts.image, b.first.facts.number);
  });
  return all;
}

std::vector<catalog::Version> Replicator::parent_candidates(const catalog::Version& version) const {
  std::vector<catalog::Version> candidates;
  // Held for the loop: the table may be replaced at any moment.
  const auto table = versions();
  for (const catalog::Version& other : table->of(version.facts.image))
    if (other.state == catalog::VersionState::complete) candidates.push_back(other);
  const auto distance = [&](const catalog::Version& other) {
    const std::int64_t apart =
        std::int64_t{other.facts.number.value()} - std::int64_t{version.facts.number.value()};
    return apart < 0 ? -2 * apart : 2 * apart + 1;  // of equally near ones the older first
  };
  std::ranges::sort(candidates, {}, distance);
  return candidates;
}

// Reading manifests and pending maps takes its time, and readers of what is complete must not wait
// for it: from now on these versions are being opened.
void Replicator::resume_arrivals() {
  const auto table = versions();
  for (const catalog::Version& version : table->versions) {
    if (version.state != catalog::VersionState::arriving || !version.shaped) continue;
    {
      const std::lock_guard lock(mutex_);
      opening_[version.serial].deadline = clock_.now() + live_.fetch_timeout.load();
    }
    shapes_.post([this, serial = version.serial] { resume(serial); });
  }
}

void Replicator::resume(VersionSerial serial) {
  const auto version = find(serial);
  if (!version) return finish_opening(serial, fail(ErrorCode::not_found, "no such version"));
  bool wanted = false;
  auto content = resume_content(repository_, local_, gate_, *version, wanted);
  if (!content) {
    if (const Status begun = begin_again(*version, content.error()); !begun)
      finish_opening(serial, std::unexpected(begun.error()));
    return;
  }
  auto opened = std::make_shared<const OpenedVersion>(
      OpenedVersion{*version, Arrival::make(context_, std::move(*content), wanted), nullptr});
  {
    const std::lock_guard lock(mutex_);
    opened_.emplace(serial, opened);
  }
  finish_opening(serial, opened);
  // Who wanted it is not remembered; whoever still does says so again.
  if (wanted) fills_.add(serial, version->facts.image, FillReason::subscription);
  logger_->info("{} goes on arriving", name_of(*version));
}

// What cannot go on is fetched anew when somebody looks inside, or at once if somebody waits.
Status Replicator::begin_again(const catalog::Version& version, const Error& why) {
  logger_->warn("{}: the arrival cannot go on and begins again: {}", name_of(version),
                why.message());
  ICBD_TRY(repository_.discard_arrival(version));
  ICBD_TRY(reload_table());
  {
    const std::lock_guard lock(mutex_);
    const auto opening = opening_.find(version.serial);
    if (opening == opening_.end()) return {};
    if (opening->second.waiting.empty()) {
      opening_.erase(opening);
      return {};
    }
  }
  fetch_shape_of(version.serial);
  return {};
}

// ---- filling -------------------------------------------------------------------------------

void Replicator::note_read(Arrival& arrival, std::uint64_t bytes) {
  if (live_.fill != FillPolicy::on_read || bytes == 0) return;
  const std::uint64_t before = arrival.count_read(bytes);
  const std::uint64_t threshold = std::max<std::uint64_t>(
      std::min(live_.fill_threshold.load(), arrival.version().facts.file_bytes), 1);
  if (before < threshold && before + bytes >= threshold)
    want(arrival.version().serial, FillReason::reader);
}

void Replicator::want(VersionSerial serial, FillReason reason) {
  std::shared_ptr<Arrival> arrival;
  {
    const std::lock_guard lock(mutex_);
    const auto opened = opened_.find(serial);
    if (opened == opened_.end() || !opened->second->arrival) return;
    arrival = opened->second->arrival;
  }
  arrival->set_wanted();
  fills_.add(serial, arrival->version().facts.image, reason);
}

// Of every other image, the newest version that is here, the newest of all first.
std::vector<catalog::Version> Replicator::newest_of_other_images(
    const catalog::Version& version) const {
  std::vector<catalog::Version> newest;
  const auto table = versions();
  for (const std::string& image : table->images) {
    if (image == version.facts.image) continue;
    std::optional<catalog::Version> last;  // in the order of their numbers
    for (const catalog::Version& other : table->of(image))
      if (other.state == catalog::VersionState::complete) last = other;
    if (last) newest.push_back(std::move(*last));
  }
  std::ranges::sort(newest, std::ranges::greater{},
                    [](const catalog::Version& other) { return other.facts.published; });
  return newest;
}

// Chunks of the parent, and of the newest complete versions of the image: versions that came while
// this one was waiting may hold most of it. Then of other images, as far as memory is granted.
Result<std::vector<std::shared_ptr<const DigestIndex>>> Replicator::indexes_for(
    const Arrival& arrival) {
  constexpr std::size_t most_of_image = 2;
  constexpr std::size_t most_of_others = 16;
  // Of the others together: 16 MiB of places, 30 MB of names.
  constexpr std::uint64_t most_chunks = 1024 * 1024;
  constexpr std::uint64_t most_entries = 100'000;
  std::vector<std::shared_ptr<const DigestIndex>> indexes;
  for (const catalog::Version& candidate : parent_candidates(arrival.version())) {
    if (indexes.size() == most_of_image) break;
    ICBD_ASSIGN(auto local, local_.open(candidate));
    ICBD_ASSIGN(DigestIndex index, DigestIndex::build(std::move(local)));
    indexes.push_back(std::make_shared<const DigestIndex>(std::move(index)));
  }
  std::uint64_t chunks = 0;
  std::uint64_t entries = 0;
  std::size_t others = 0;
  for (const catalog::Version& other : newest_of_other_images(arrival.version())) {
    chunks += other.facts.file_bytes / limits::chunk_size + other.facts.entries;
    entries += other.facts.entries;
    if (chunks > most_chunks || entries > most_entries || ++others > most_of_others) break;
    // Another image's trouble is not this one's: then its chunks are fetched.
    auto local = local_.open_once(other);
    if (!local) continue;
    if (auto index = DigestIndex::build(std::move(*local)))
      indexes.push_back(std::make_shared<const DigestIndex>(std::move(*index)));
  }
  return indexes;
}

Status Replicator::fill(VersionSerial serial, std::stop_token stop) {
  std::shared_ptr<Arrival> arrival;
  {
    const std::lock_guard lock(mutex_);
    const auto opened = opened_.find(serial);
    if (opened == opened_.end() || !opened->second->arrival) return {};
    arrival = opened->second->arrival;
  }
  const Status done = fill_and_land(*arrival, stop);
  if (!done && done.error().code() != ErrorCode::cancelled) {
    const bool is_news = arrival->set_failure(done.error());
    // While the source is away, that is said once, where it is noticed.
    if (is_news && !is_temporary(done.error()))
      logger_->error("{}: {}; it is tried again", name_of(arrival->version()),
                     done.error().message());
  }
  return done;
}

Status Replicator::fill_and_land(Arrival& arrival, std::stop_token stop) {
  // A damaged chunk is fetched whole and verified: the second round finds it right, unless
  // something here damages what is written.
  constexpr int most_rounds = 3;
  ICBD_ASSIGN(const catalog::Version known,
              repository_.catalog().version(arrival.version().serial));
  if (known.state == catalog::VersionState::complete) {
    // An attempt before this one failed after its commit.
    ICBD_TRY(repository_.commit_landing(known));
    return turn_complete(known, nullptr);
  }
  ICBD_TRY(arrival.commit_shape());
  ICBD_ASSIGN(const auto indexes, indexes_for(arrival));
  for (int round = 0; round < most_rounds; ++round) {
    ICBD_TRY(arrival.fill(stop, indexes));
    ICBD_ASSIGN(const bool landed, arrival.land(stop));
    if (landed) return turn_complete(arrival.version(), &arrival.content());
  }
  return fail(ErrorCode::io,
              "what was written and what is read back differ again and again: is this disk sound?");
}

// `arrived`: what its arrival knows of it, if there was one.
Status Replicator::turn_complete(const catalog::Version& version, const Content* arrived) {
  ICBD_ASSIGN(unique_fd root, repository_.open_version(version.facts.image, version.facts.number));
  ICBD_ASSIGN(Staging subvolume, Staging::take(std::move(root)));
  ICBD_ASSIGN(const catalog::Version complete, repository_.catalog().version(version.serial));
  // Most likely the next version's parent: opened now, while its manifest is at hand.
  if (arrived)
    ICBD_TRY(local_.add(complete, *arrived));
  else
    ICBD_TRY(local_.open(complete));
  {
    const std::lock_guard lock(mutex_);
    opened_.insert_or_assign(
        version.serial, std::make_shared<const OpenedVersion>(OpenedVersion{
                            complete, nullptr, std::make_shared<Staging>(std::move(subvolume))}));
  }
  ICBD_TRY(reload_table());
  look_now();  // the next one that is wanted
  return {};
}

}  // namespace icbd::replicator
