// What holds a version here, and dropping one that nothing holds.

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "icbd/btrfs/subvolume.h"
#include "icbd/replicator/replicator.h"
#include "icbd/replicator/wishes.h"

#include "describe.h"

namespace icbd::replicator {
namespace {

constexpr std::chrono::seconds look_after_interval{10};
constexpr std::uint64_t subvolume_root_inode = 256;  // BTRFS_FIRST_FREE_OBJECTID

}  // namespace

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
  if (!begin_dropping(serial))
    return fail(ErrorCode::busy,
                fmt::format("{} is being dropped, or the cache is stopping", name_of(*version)));
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
  end_dropping(serial);
  return dropped;
}

// From now on, whoever opens it waits.
bool Replicator::begin_dropping(VersionSerial serial) {
  const std::lock_guard lock(mutex_);
  return !stopping_ && dropping_.try_emplace(serial).second;
}

void Replicator::end_dropping(VersionSerial serial) {
  std::vector<OpenDone> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting = std::move(dropping_.at(serial));
    dropping_.erase(serial);
  }
  for (OpenDone& done : waiting) open(serial, std::move(done));
}

void Replicator::look_after(VersionSerial serial) {
  const auto version = find(serial);
  if (!version || version->state != catalog::VersionState::complete || !begin_dropping(serial))
    return;
  const auto why = repository_.give_up_if_damaged(*version);
  if (!why) {
    logger_->error("{}: {}", name_of(*version), why.error().message());
  } else if (*why) {
    logger_->error("{} is given up and will be fetched again when it is wanted: {}",
                   name_of(*version), **why);
    end_arrival(serial);
    local_.forget(serial);
    if (const Status reloaded = reload_table(); !reloaded)
      logger_->error("{}", reloaded.error().message());
    if (lost_observer_) lost_observer_(serial);
  }
  end_dropping(serial);
}

// Those that somebody has looked into: what the kernel reads by itself is noticed by nobody else.
void Replicator::look_after_all() {
  const auto now = clock_.now();
  if (now - looked_after_ < look_after_interval) return;
  looked_after_ = now;
  std::vector<std::shared_ptr<const OpenedVersion>> complete;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [serial, opened] : opened_)
      if (opened->complete) complete.push_back(opened);
  }
  for (const auto& opened : complete) {
    const bool there =
        opened->complete->open_inode(InodeNumber(subvolume_root_inode), O_PATH).has_value();
    if (!there || !btrfs::is_read_only(opened->complete->root_fd()))
      look_after(opened->version.serial);
  }
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
