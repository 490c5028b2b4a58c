// What the connections of one peer know of the link that they share.
//
// Purpose: a peer has a connection for what its readers are blocked on and one for bulk, over one
// link. What one finds the link to carry serves the others, and bulk gives way while a reader is
// being answered: the network by itself would share the link between them.
// Lifecycle: outlives the Readers that it gives out.
// Guarantees: thread-safe. Peers are told apart by the names that they give themselves; of at most
// most_peers of them something is known.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "icbd/base/clock.h"

namespace icbd::wire {

class PeerLinks {
 public:
  static constexpr std::size_t most_peers = 4096;  // names come from outside
  // Bulk goes on now and then, whoever reads: it keeps a tenth of the link, and waits no longer
  // than this for a frame.
  static constexpr std::chrono::milliseconds patience{100};

  // Bytes per second.
  void set_rate(const std::string& peer, double rate);
  std::optional<double> rate(const std::string& peer) const;
  // What readers of that peer are sent in a second: the rate, as long as bulk goes on to find it
  // out (it was set within rate_is_fresh). Faster, the end of it would be lost in a short queue
  // beside bulk, and missed only much later. Empty: as fast as it goes.
  std::optional<double> pace_of_readers(const std::string& peer) const;
  static constexpr std::chrono::milliseconds rate_is_fresh{1'000};

  // A reader that is being answered with `bytes`, until this goes: when they are handed to the
  // kernel, or given up.
  class Reader {
   public:
    Reader(PeerLinks& links, std::string peer, std::uint64_t bytes);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

   private:
    PeerLinks& links_;
    const std::string peer_;
    const std::uint64_t bytes_;
  };

  // Returns when no reader of that peer is being answered and what they were sent has had the time
  // to cross the link; or after ten times what `bytes` take to cross it, and `patience` at most. At
  // once while the link's rate is not known.
  void give_way(const std::string& peer, std::uint64_t bytes);

 private:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Peer {
    std::optional<double> rate;
    TimePoint rate_set = {};
    std::size_t readers = 0;
    TimePoint sent_by = {};  // when the last of the readers' bytes have crossed the link
  };
  Peer* find(const std::string& peer);  // with mutex_ held; null if there are too many

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Peer> peers_;  // guarded by mutex_
};

}  // namespace icbd::wire
