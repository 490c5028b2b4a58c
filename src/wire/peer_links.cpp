#include "peer_links.h"

#include <algorithm>
#include <utility>

namespace icbd::wire {

using std::chrono::steady_clock;

PeerLinks::Peer* PeerLinks::find(const std::string& peer) {
  if (peers_.size() >= most_peers && !peers_.contains(peer)) return nullptr;
  return &peers_[peer];
}

void PeerLinks::set_rate(const std::string& peer, double rate) {
  const std::lock_guard lock(mutex_);
  Peer* known = find(peer);
  if (known == nullptr) return;
  known->rate = rate;
  known->rate_set = steady_clock::now();
}

std::optional<double> PeerLinks::rate(const std::string& peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(peer);
  return found == peers_.end() ? std::nullopt : found->second.rate;
}

std::optional<double> PeerLinks::pace_of_readers(const std::string& peer) const {
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(peer);
  if (found == peers_.end() || !found->second.rate) return std::nullopt;
  if (steady_clock::now() - found->second.rate_set > rate_is_fresh) return std::nullopt;
  return found->second.rate;
}

PeerLinks::Reader::Reader(PeerLinks& links, std::string peer, std::uint64_t bytes)
    : links_(links), peer_(std::move(peer)), bytes_(bytes) {
  const std::lock_guard lock(links_.mutex_);
  if (Peer* known = links_.find(peer_)) ++known->readers;
}

PeerLinks::Reader::~Reader() {
  {
    const std::lock_guard lock(links_.mutex_);
    const auto found = links_.peers_.find(peer_);
    if (found == links_.peers_.end() || found->second.readers == 0) return;
    Peer& peer = found->second;
    --peer.readers;
    if (peer.rate && *peer.rate > 0) {
      const std::chrono::duration<double> crossing(static_cast<double>(bytes_) / *peer.rate);
      const auto begin = std::max(peer.sent_by, steady_clock::now());
      peer.sent_by =
          begin + std::min<steady_clock::duration>(
                      std::chrono::duration_cast<steady_clock::duration>(crossing), patience);
    }
  }
  links_.changed_.notify_all();
}

void PeerLinks::give_way(const std::string& peer, std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  const Peer& known = found->second;  // peers are never forgotten
  if (!known.rate || *known.rate <= 0) return;
  constexpr double share_of_bulk = 0.1;
  const std::chrono::duration<double> longest(static_cast<double>(bytes) / *known.rate /
                                              share_of_bulk);
  const TimePoint end =
      steady_clock::now() + (longest < patience
                                 ? std::chrono::duration_cast<steady_clock::duration>(longest)
                                 : steady_clock::duration(patience));
  while (true) {
    const TimePoint now = steady_clock::now();
    if (now >= end || (known.readers == 0 && now >= known.sent_by)) return;
    changed_.wait_until(lock, known.readers == 0 ? std::min(known.sent_by, end) : end);
  }
}

}  // namespace icbd::wire
