// Looking inside versions: complete ones are opened, of others the shape is fetched.

#include <algorithm>

#include "icbd/replicator/replicator.h"
#include "icbd/replicator/shape.h"

#include "describe.h"

namespace icbd::replicator {
namespace {

using namespace std::chrono_literals;

constexpr auto shape_retry_interval = 250ms;
// Each holds a descriptor: a walk over thousands of versions must not use up the process's.
constexpr std::size_t most_opened = 256;
// Metadata that a shape writes, per entry: an inode, two names, and their share of the trees.
constexpr std::uint64_t shape_bytes_per_entry = 1024;

// Also system calls that fail for what the stream says: a name that is taken, or is not there.
bool may_be_the_shapes_fault(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unavailable:
    case ErrorCode::timed_out:
    case ErrorCode::cancelled:
    case ErrorCode::no_space:
    case ErrorCode::too_large:
    case ErrorCode::permission_denied:
      return false;
    default:
      return true;
  }
}

}  // namespace

std::shared_ptr<const OpenedVersion> Replicator::opened(VersionSerial serial) {
  catalog::Version version;
  {
    const std::lock_guard lock(mutex_);
    if (dropping_.contains(serial) || committing_.contains(serial)) return nullptr;
    if (const auto found = opened_.find(serial); found != opened_.end()) return found->second;
    const auto known = by_serial_.find(serial);
    if (known == by_serial_.end() || known->second.state != catalog::VersionState::complete)
      return nullptr;
    version = known->second;
  }
  auto root = repository_.open_version(version.facts.image, version.facts.number);
  auto subvolume = root ? Staging::take(std::move(*root)) : std::unexpected(root.error());
  if (!subvolume) {
    logger_->error("{} is complete in the catalog but cannot be opened: {}", name_of(version),
                   subvolume.error().message());
    return nullptr;
  }
  auto opened = std::make_shared<const OpenedVersion>(
      OpenedVersion{version, nullptr, std::make_shared<Staging>(std::move(*subvolume))});
  const std::lock_guard lock(mutex_);
  if (dropping_.contains(serial)) return nullptr;
  if (opened_.size() >= most_opened) forget_one_complete();
  return opened_.try_emplace(serial, std::move(opened)).first->second;
}

// With mutex_ held. Whoever uses it keeps it; it is opened again when it is asked for.
void Replicator::forget_one_complete() {
  const auto found =
      std::ranges::find_if(opened_, [](const auto& entry) { return !entry.second->arrival; });
  if (found != opened_.end()) opened_.erase(found);
}

// `wanted`: it is to be filled, which is then written down with its shape.
void Replicator::open(VersionSerial serial, bool wanted, OpenDone done) {
  if (auto opened_version = opened(serial)) return done(std::move(opened_version));
  bool begin = false;
  {
    const std::lock_guard lock(mutex_);
    const bool came = opened_.contains(serial) && !committing_.contains(serial);
    if (const auto dropping = dropping_.find(serial); dropping != dropping_.end()) {
      dropping->second.push_back(std::move(done));
      return;
    }
    if (came) {
      // Just now; answered below, without the lock.
    } else if (!stopping_ && by_serial_.contains(serial) &&
               by_serial_.at(serial).state != catalog::VersionState::complete) {
      const auto [place, added] = opening_.try_emplace(serial);
      if (added) place->second.deadline = clock_.now() + live_.fetch_timeout.load();
      place->second.waiting.push_back(std::move(done));
      place->second.wanted |= wanted;
      done = nullptr;
      begin = added;
    }
  }
  if (begin) shapes_.post([this, serial] { fetch_shape_of(serial); });
  if (!done) return;
  if (auto opened_version = opened(serial)) return done(std::move(opened_version));
  done(fail(ErrorCode::not_found, "no such version, or it cannot be opened"));
}

// The room is judged first; and a shape that cannot be applied, or does not fit its manifest, is
// tried once more as a full one, which depends on nothing that is here.
Result<std::shared_ptr<Content>> Replicator::fetch_content(const catalog::Version& version) {
  ICBD_TRY(space_.check(version.facts.entries * shape_bytes_per_entry));
  const auto candidates = parent_candidates(version);
  auto content = fetch_shape(repository_, local_, gate_, version, candidates, options_.policy);
  if (content || candidates.empty() || !may_be_the_shapes_fault(content.error())) return content;
  logger_->warn("{}: {}; the full shape is fetched instead", name_of(version),
                content.error().message());
  return fetch_shape(repository_, local_, gate_, version, {}, options_.policy);
}

bool Replicator::may_try_again(VersionSerial serial, const Error& error) const {
  const std::lock_guard lock(mutex_);
  const auto opening = opening_.find(serial);
  return is_temporary(error) && !gate_.closed() && !stopping_ && opening != opening_.end() &&
         clock_.now() < opening->second.deadline;
}

void Replicator::fetch_shape_of(VersionSerial serial) {
  const auto version = find(serial);
  if (!version) return finish_opening(serial, fail(ErrorCode::not_found, "no such version"));
  auto content = fetch_content(*version);
  if (content) return begin_arrival(*version, std::move(*content));
  if (may_try_again(serial, content.error()))
    return shapes_.post_after(shape_retry_interval, [this, serial] { fetch_shape_of(serial); });
  refuse(*version, content.error());
  finish_opening(serial, std::unexpected(content.error()));
}

void Replicator::refuse(const catalog::Version& version, const Error& error) {
  if (error.code() != ErrorCode::cancelled)
    logger_->error("{}: the shape cannot be had: {}", name_of(version), error.message());
  if (const Status discarded = repository_.discard_arrival(version); !discarded)
    logger_->warn("{}: {}", name_of(version), discarded.error().message());
  if (is_temporary(error) || error.code() == ErrorCode::cancelled) return;
  const std::lock_guard lock(mutex_);
  refused_.insert_or_assign(version.serial, error);
}

void Replicator::begin_arrival(const catalog::Version& version, std::shared_ptr<Content> content) {
  const bool wanted = [&] {
    const std::lock_guard lock(mutex_);
    const auto opening = opening_.find(version.serial);
    return opening != opening_.end() && opening->second.wanted;
  }();
  auto arrival = Arrival::make(context_, std::move(content), wanted);
  auto opened = std::make_shared<const OpenedVersion>(OpenedVersion{version, arrival, nullptr});
  {
    const std::lock_guard lock(mutex_);
    refused_.erase(version.serial);
    opened_.insert_or_assign(version.serial, opened);
    committing_.insert(version.serial);
    mark_arriving(version.serial);
  }
  // Before anyone sees it: its inodes must be the same for whoever goes on after this process. What
  // cannot be made durable is readable all the same.
  const Status committed = arrival->commit_shape();
  if (!committed && committed.error().code() != ErrorCode::cancelled) {
    arrival->note_problem(committed.error());
    logger_->error("{}: the shape cannot be made durable: {}", name_of(version),
                   committed.error().message());
  }
  {
    const std::lock_guard lock(mutex_);
    committing_.erase(version.serial);
  }
  finish_opening(version.serial, opened);
  if (const Status reloaded = reload_table(); !reloaded)
    logger_->error("{}", reloaded.error().message());
  logger_->info("{} is arriving", name_of(version));
  // Nothing in it has bytes: nobody will ever read from it, and nothing is missing.
  if (arrival->content().chunks().count() == 0) want(version.serial);
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

}  // namespace icbd::replicator
