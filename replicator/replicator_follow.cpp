// Following the source's catalog: what is new there, whether it is still the one that was followed,
// and whether it can be reached at all.

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "icbd/replicator/replicator.h"

#include "describe.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

// Attempts while the source cannot be reached: a return is noticed within this time.
constexpr auto longest_poll = 3'000ms;
// Between two comparisons with a source that announces nothing.
constexpr auto unannounced_poll = 1'000ms;

}  // namespace

// An unreachable source is not an error: what is here is served.
Status Replicator::follow_once() {
  const auto snapshot = gate_.catalog(known_catalog_);
  if (!snapshot) {
    note_unreachable(snapshot.error());
    return {};
  }
  const std::optional<source::CatalogSnapshot>& changed = *snapshot;
  if (changed) {
    if (const Status same = check_identity(*changed); !same) {
      known_catalog_.reset();
      note_unreachable(same.error());
      return {};
    }
    ICBD_TRY(take_catalog(*changed));
  }
  note_reachable(changed ? std::optional(changed->repository) : std::nullopt);
  return {};
}

void Replicator::note_unreachable(const Error& error) {
  if (error.code() == ErrorCode::cancelled) return;  // it is we who end the connection
  const auto now = clock_.now();
  if (!unreachable_since_) unreachable_since_ = now;
  // Whatever has happened to it meanwhile: it is asked for everything again.
  known_catalog_.reset();
  bool say = false;
  {
    const std::lock_guard lock(mutex_);
    say = source_status_.reachable || source_status_.error != error.message();
    source_status_.reachable = false;
    source_status_.error = error.message();
  }
  if (say)
    logger_->error("the master {}: {}; what is complete is served, trying again",
                   is_temporary(error) ? "cannot be reached" : "is not followed", error.message());
  if (now - *unreachable_since_ < live_.offline_after.load()) return;
  const Error away(ErrorCode::unavailable, fmt::format("the master is away: {}", error.message()));
  if (!gate_.close(away.message())) return;
  logger_->warn("the master counts as away: reads of what is not here fail at once");
  for (const auto& arrival : open_arrivals()) arrival->fail_waiting(away);
}

void Replicator::note_reachable(std::optional<Uuid> repository) {
  unreachable_since_.reset();
  gate_.open();
  bool back = false;
  {
    const std::lock_guard lock(mutex_);
    back = !source_status_.reachable;
    source_status_.reachable = true;
    source_status_.error.clear();
    if (repository) source_status_.repository = repository;
  }
  // Versions may come here by other ways, without a master.
  if (!back || !options_.pursue_wishes) return;
  logger_->info("the master is reached");
  fills_.retry_now();
}

// Whose catalog this is, compared with the one that was followed before.
Status Replicator::check_identity(const source::CatalogSnapshot& snapshot) {
  ICBD_ASSIGN(const auto followed, repository_.catalog().followed_source());
  const Uuid expected =
      options_.expected_source.value_or(followed ? followed->repository : snapshot.repository);
  if (snapshot.repository != expected)
    return fail(
        ErrorCode::permission_denied,
        fmt::format("it is another repository ({}) than the one that this cache follows ({}): "
                    "nothing is taken from it. If that is intended, set [master] repository = "
                    "\"{}\"",
                    snapshot.repository.to_string(), expected.to_string(),
                    snapshot.repository.to_string()));
  std::string warning;
  if (followed && followed->repository == snapshot.repository) {
    if (followed->epoch != snapshot.epoch)
      warning = "the master's catalog was rebuilt; its versions are compared by their content";
    else if (snapshot.change_number < followed->change_number)
      warning = fmt::format(
          "the master has gone back from change {} to {}: it was restored from an old backup; "
          "versions that it has lost stay here, and numbers that come back with other content are "
          "refused",
          followed->change_number, snapshot.change_number);
  }
  if (!warning.empty()) {
    logger_->error("{}", warning);
    const std::lock_guard lock(mutex_);
    source_status_.warning = std::move(warning);
  }
  return {};
}

Status Replicator::take_catalog(const source::CatalogSnapshot& snapshot) {
  catalog::Catalog& catalog = repository_.catalog();
  const auto known = versions();
  for (const std::string& image : snapshot.images)
    if (!std::binary_search(known->images.begin(), known->images.end(), image))
      if (const Status added = catalog.add_image(image); !added)
        logger_->warn("image {}: {}", image, added.error().message());
  std::vector<std::string> conflicts;
  for (const catalog::VersionFacts& facts : snapshot.versions)
    if (auto conflict = add_remote(facts, *known)) conflicts.push_back(std::move(*conflict));
  ICBD_TRY(catalog.replace_tags(snapshot.tags));
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& conflict : conflicts)
      if (std::ranges::find(source_status_.conflicts, conflict) == source_status_.conflicts.end())
        logger_->error("{}", conflict);
    source_status_.conflicts = std::move(conflicts);
  }
  ICBD_TRY(reload_table());
  ICBD_TRY(catalog.set_followed_source({.repository = snapshot.repository,
                                        .epoch = snapshot.epoch,
                                        .change_number = snapshot.change_number}));
  known_catalog_ = snapshot.known();
  return {};
}

// Why it is refused, if it is.
std::optional<std::string> Replicator::add_remote(const catalog::VersionFacts& facts,
                                                  const VersionTable& known) {
  const auto key = [](const catalog::VersionFacts& of) { return std::tie(of.image, of.number); };
  const auto same =
      std::ranges::lower_bound(known.versions, key(facts), {},
                               [&](const catalog::Version& version) { return key(version.facts); });
  if (same != known.versions.end() && key(same->facts) == key(facts)) {
    if (same->facts.manifest == facts.manifest && same->facts.uuid == facts.uuid) return {};
    return fmt::format(
        "{}: the master has other content under this number (manifest {}, here {}); it is refused "
        "and what is here is kept. Was the master restored from a backup?",
        name_of(*same), facts.manifest.to_string(), same->facts.manifest.to_string());
  }
  const auto added = repository_.catalog().add_version(facts, catalog::VersionState::remote);
  if (!added)
    return fmt::format("{}@{} of the master is refused: {}", facts.image, facts.number.value(),
                       added.error().message());
  logger_->info("{}@{} is new on the master", facts.image, facts.number.value());
  return {};
}

void Replicator::source_announces(bool announcing) {
  {
    const std::lock_guard lock(mutex_);
    source_status_.announcing = announcing;
    look_now_ = true;
  }
  changed_.notify_all();
}

void Replicator::follow(std::stop_token stop) {
  Backoff backoff(std::min<Backoff::Duration>(live_.poll_interval.load(), longest_poll),
                  longest_poll);
  while (!stop.stop_requested()) {
    std::chrono::milliseconds wait{};
    const bool wishes_left = pursue_wishes();
    if (unreachable_since_)
      wait = backoff.next();
    else
      backoff.reset();
    {
      std::unique_lock lock(mutex_);
      if (!unreachable_since_)
        wait = source_status_.announcing && !wishes_left
                   ? live_.poll_interval.load()
                   : std::min<std::chrono::milliseconds>(live_.poll_interval, unannounced_poll);
      changed_.wait_for(lock, stop, wait, [&] { return look_now_; });
      look_now_ = false;
    }
    if (stop.stop_requested()) return;
    if (const Status followed = follow_once(); !followed)
      logger_->error("the catalog cannot be brought up to date: {}", followed.error().message());
    watch_fills();
    look_after_all();
  }
}

// A fill that stands still although its connection lives: nothing can be done about it from here,
// but nobody should have to guess.
void Replicator::watch_fills() {
  const auto now = clock_.now();
  for (const auto& arrival : open_arrivals()) {
    const ArrivalProgress progress = arrival->progress();
    const std::uint64_t moved = progress.bytes_done + progress.bytes_fetched;
    FillWatch& watch = watches_[arrival->version().serial];
    if (!progress.filling || moved != watch.moved || watch.since == Clock::TimePoint{}) {
      watch = {.moved = moved, .since = now, .said = false};
    } else if (!watch.said && now - watch.since >= options_.stall_warning) {
      watch.said = true;
      logger_->warn("{}: nothing has come for {} s ({} of {} bytes are here)",
                    name_of(arrival->version()),
                    std::chrono::duration_cast<std::chrono::seconds>(now - watch.since).count(),
                    progress.bytes_done, progress.bytes_total);
    }
  }
}

}  // namespace icbd::replicator
