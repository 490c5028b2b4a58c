// What holds a version here, and dropping one that nothing holds.

#include <fmt/format.h>

#include <algorithm>

#include "icbd/replicator/replicator.h"
#include "icbd/replicator/wishes.h"

#include "describe.h"

namespace icbd::replicator {

std::vector<Hold> Replicator::holds(VersionSerial serial) const {
  const auto version = find(serial);
  if (!version) return {};
  std::vector<Hold> holds;
  if (version->pin)
    holds.push_back({serial, "pin",
                     version->pin->reason.empty()
                         ? "somebody has pinned it"
                         : fmt::format("somebody has pinned it: {}", version->pin->reason)});
  const auto table = versions();
  for (const catalog::Subscription& subscription : table->subscriptions) {
    if (subscription.image != version->facts.image) continue;
    const auto wanted = wanted_by(*table, subscription);
    if (std::ranges::find(wanted, serial, &catalog::Version::serial) != wanted.end())
      holds.push_back({serial, "subscription",
                       fmt::format("the subscription to {} wants {}", subscription.image,
                                   describe(subscription))});
  }
  for (const catalog::Version& other : table->of(version->facts.image))
    if (other.shape_parent == serial && other.state == catalog::VersionState::arriving)
      holds.push_back({serial, "parent", fmt::format("{} arrives on top of it", name_of(other))});
  const std::lock_guard lock(mutex_);
  for (const auto& [opening, waiting] : opening_) {
    const auto other = by_serial_.find(opening);
    if (other != by_serial_.end() && other->second.facts.image == version->facts.image)
      holds.push_back({serial, "shape",
                       fmt::format("the shape of {} is being fetched", name_of(other->second))});
  }
  return holds;
}

Status Replicator::drop(VersionSerial serial, const OtherHolds& others) {
  const auto version = find(serial);
  if (!version) return fail(ErrorCode::not_found, "no such version");
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return fail(ErrorCode::cancelled, "the cache is stopping");
    if (!dropping_.try_emplace(serial).second)
      return fail(ErrorCode::busy, fmt::format("{} is being dropped", name_of(*version)));
  }
  // From here on nobody opens it: holds can only become fewer.
  auto held = holds(serial);
  if (others) std::ranges::move(others(serial), std::back_inserter(held));
  Status dropped;
  if (held.empty()) {
    dropped = drop_unheld(serial);
  } else {
    std::string reasons;
    for (const Hold& hold : held)
      reasons += fmt::format("{}{}", reasons.empty() ? "" : "; ", hold.detail);
    dropped = fail(ErrorCode::busy, fmt::format("{} is held: {}", name_of(*version), reasons));
  }
  std::vector<OpenDone> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting = std::move(dropping_.at(serial));
    dropping_.erase(serial);
  }
  for (OpenDone& done : waiting) open(serial, std::move(done));
  return dropped;
}

// Nothing opens it any more. A fill under way may still end in its being complete, and a reader who
// has just gone may ask for another: so what is to be removed is decided when both have ended.
Status Replicator::drop_unheld(VersionSerial serial) {
  ICBD_TRY(repository_.catalog().set_pulled(serial, false));
  fills_.remove(serial);
  const bool was_arriving = end_arrival(serial);
  fills_.remove(serial);
  ICBD_ASSIGN(catalog::Version version, repository_.catalog().version(serial));
  if (version.state == catalog::VersionState::remote && !was_arriving) {
    ICBD_TRY(reload_table());
    return fail(ErrorCode::not_found, fmt::format("nothing of {} is here", name_of(version)));
  }
  if (version.state == catalog::VersionState::complete) {
    end_arrival(serial);  // what has landed meanwhile was opened anew
    local_.forget(serial);
    ICBD_TRY(repository_.drop_version(version));
  } else {
    // Its inodes were shown, though the catalog had not heard of it yet: from arriving to remote it
    // gets another generation.
    ICBD_TRY(repository_.catalog().set_state(serial, catalog::VersionState::arriving));
    ICBD_TRY(repository_.discard_arrival(version));
  }
  return reload_table();
}

// Closes the version for whoever comes; what arrives is given up. True if it was arriving.
bool Replicator::end_arrival(VersionSerial serial) {
  std::shared_ptr<const OpenedVersion> opened;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = opened_.find(serial); found != opened_.end()) {
      opened = found->second;
      opened_.erase(found);
    }
  }
  if (!opened || !opened->arrival) return false;
  opened->arrival->abandon();
  return true;
}

}  // namespace icbd::replicator
