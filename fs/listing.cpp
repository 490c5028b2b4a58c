#include "listing.h"

#include <algorithm>

namespace icbd::fs {

std::size_t Listing::after(std::uint64_t cookie) const {
  const auto next = std::ranges::upper_bound(items, cookie, {}, &Item::cookie);
  return static_cast<std::size_t>(next - items.begin());
}

// With mutex_ held.
void ListingCache::forget(std::uint64_t node) {
  const auto found = by_node_.find(node);
  if (found == by_node_.end()) return;
  items_ -= found->second->listing->items.size();
  entries_.erase(found->second);
  by_node_.erase(found);
}

std::shared_ptr<const Listing> ListingCache::find(std::uint64_t node,
                                                  const std::shared_ptr<const void>& of) {
  const std::lock_guard lock(mutex_);
  const auto found = by_node_.find(node);
  if (found == by_node_.end() || found->second->listing->made_of != of) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->listing;
}

void ListingCache::keep(std::uint64_t node, std::shared_ptr<const Listing> listing) {
  const std::lock_guard lock(mutex_);
  forget(node);
  items_ += listing->items.size();
  entries_.push_front({node, std::move(listing)});
  by_node_.emplace(node, entries_.begin());
  // One that is too long for all alone stays: somebody is reading it.
  while (items_ > most_items && entries_.size() > 1) forget(entries_.back().node);
}

}  // namespace icbd::fs
