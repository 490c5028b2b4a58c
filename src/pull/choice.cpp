#include "choice.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "icbd/catalog/names.h"

namespace icbd::pull {

using catalog::Version;
using catalog::VersionState;

namespace {

std::unordered_map<Uuid, const Version*> by_identity(const std::vector<Version>& here) {
  std::unordered_map<Uuid, const Version*> known;
  for (const Version& version : here) known.emplace(version.facts.uuid, &version);
  return known;
}

// How many of the newest ones; a tag other than "current" is never given here.
std::size_t count_of(const std::optional<catalog::Subscription>& subscription) {
  if (!subscription) return 0;
  if (subscription->tag == catalog::current_word) return 1;
  return subscription->tag.empty() ? subscription->latest : 0;
}

std::vector<Snapshot> newer_ones(const std::vector<Snapshot>& there,
                                 const std::vector<Version>& here) {
  const auto known = by_identity(here);
  const auto last_known = std::ranges::find_if(
      there.rbegin(), there.rend(),
      [&](const Snapshot& snapshot) { return known.contains(snapshot.identity()); });
  if (last_known != there.rend()) return {last_known.base(), there.end()};
  Timestamp newest;
  for (const Version& version : here) newest = std::max(newest, version.facts.published);
  std::vector<Snapshot> newer;
  std::ranges::copy_if(there, std::back_inserter(newer), [&](const Snapshot& snapshot) {
    return here.empty() || snapshot.created > newest;
  });
  return newer;
}

// Versions that were dropped and are wanted again: by people, or because the subscription has come
// to reach back to them.
std::set<Uuid> dropped_and_wanted(const std::vector<Version>& here, std::size_t newest) {
  std::set<Uuid> wanted;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const Version& version = here[i];
    const bool subscribed = here.size() - i <= newest;
    if (version.state == VersionState::remote && (version.pulled || subscribed))
      wanted.insert(version.facts.uuid);
  }
  return wanted;
}

// Which snapshots come from one line: connected by being snapshots of each other, or of the same
// subvolume. The kernel would send any against any, but between strangers all of it differs.
class Lines {
 public:
  explicit Lines(const std::vector<Snapshot>& snapshots) {
    for (const Snapshot& snapshot : snapshots)
      if (snapshot.parent_uuid) join(snapshot.uuid, *snapshot.parent_uuid);
  }
  bool same(const Snapshot& a, const Snapshot& b) { return root_of(a.uuid) == root_of(b.uuid); }

 private:
  Uuid root_of(Uuid uuid) {
    for (auto next = above_.find(uuid); next != above_.end(); next = above_.find(uuid))
      uuid = next->second;
    return uuid;
  }
  void join(const Uuid& a, const Uuid& b) {
    const Uuid one = root_of(a);
    const Uuid other = root_of(b);
    if (one != other) above_.emplace(one, other);
  }

  std::unordered_map<Uuid, Uuid> above_;
};

}  // namespace

Choice choose(const std::vector<Snapshot>& there, const std::vector<Version>& here,
              const std::optional<catalog::Subscription>& subscription) {
  Choice choice;
  choice.newer = newer_ones(there, here);
  const std::size_t count = count_of(subscription);
  const std::size_t new_ones = std::min(count, choice.newer.size());
  const std::set<Uuid> again = dropped_and_wanted(here, count - new_ones);
  std::ranges::copy_if(there, std::back_inserter(choice.wanted), [&](const Snapshot& snapshot) {
    return again.contains(snapshot.identity());
  });
  choice.wanted.insert(choice.wanted.end(),
                       choice.newer.end() - static_cast<std::ptrdiff_t>(new_ones),
                       choice.newer.end());
  std::set<Uuid> still_there;
  for (const Snapshot& snapshot : there) still_there.insert(snapshot.identity());
  for (const Version& version : here)
    if (version.state == VersionState::complete && !still_there.contains(version.facts.uuid))
      choice.gone.push_back(version.facts.number);
  return choice;
}

const Snapshot* choose_parent(const Snapshot& snapshot, const std::vector<Snapshot>& there,
                              const std::vector<Version>& here) {
  const auto known = by_identity(here);
  Lines lines(there);
  const Snapshot* nearest = nullptr;
  bool passed = false;  // in the order there, the snapshot itself
  for (const Snapshot& candidate : there) {
    if (candidate.uuid == snapshot.uuid) {
      if (nearest != nullptr) return nearest;
      passed = true;
      continue;
    }
    const auto version = known.find(candidate.identity());
    if (version == known.end() || version->second->state != VersionState::complete ||
        version->second->place || !lines.same(candidate, snapshot))
      continue;
    nearest = &candidate;
    if (passed) return nearest;
  }
  return nearest;
}

}  // namespace icbd::pull
