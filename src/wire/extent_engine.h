// Reads and packs what caches ask for, on behalf of all connections of a server.
//
// Purpose: a request is cut into units of at most 1 MiB of one stretch. A few workers read and pack
// units ahead of the connections that send them, so that disk, processor and link work at the same
// time; and a unit that several caches ask for within a short while is read and packed once.
// Lifecycle: construct; open a Queue for each connection; submit units to it in the order in which
// they will be sent; wait for each. Queues must be closed before the engine goes.
// Guarantees: thread-safe. What a reader is blocked on goes before bulk; among connections, turns
// are taken unit by unit, so that one with a long list holds up nobody. Memory: a window of each
// connection that is being sent something, and shared_bytes of what was prepared lately.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "icbd/codec/choice.h"
#include "icbd/codec/codec.h"
#include "icbd/source/source.h"
#include "icbd/wire/frame.h"

#include "messages.h"
#include "peer_links.h"

namespace icbd::wire {

// A frame of an answer, but for what differs between connections: request id and sequence.
struct PreparedFrame {
  FrameType type = FrameType::extents_reply;
  codec::Algorithm codec = codec::Algorithm::none;
  Bytes head;  // the packed payload, or the table of the extents whose bytes follow it
  std::vector<source::ExtentData> extents;  // none if packed
  std::vector<source::EncodedExtent> encoded = {};
  std::uint32_t plain_length = 0;

  // What is sent, in order.
  std::vector<ByteView> pieces() const;
};

// What is read and packed together. Who shares one takes its frames as they are.
struct Unit {
  Digest manifest;
  source::Priority priority = source::Priority::bulk;
  codec::Setting setting;
  // A part of it is packed with this too, only to measure it.
  std::optional<codec::Setting> sample = {};
  bool encoded = false;  // compressed extents as they are on the disk
  // What one frame holds if nothing is packed, but for an extent that is longer: what comes with it
  // cannot be used before it is all there. Packed frames are no longer than a chunk.
  std::uint64_t frame_bytes = limits::frame_payload;
  std::vector<source::Extent> extents;

  std::uint64_t bytes() const;
  // True if what is prepared of one serves the other.
  bool serves(const Unit& other) const {
    return manifest == other.manifest && priority == other.priority && setting == other.setting &&
           encoded == other.encoded && extents == other.extents;
  }
};
// Cuts a request at the borders of 1 MiB of a file, so that caches which ask for the same bytes in
// other requests ask for the same units. With `setting` none yet.
std::vector<Unit> cut_into_units(const Digest& manifest, source::Priority priority,
                                 std::span<const source::Extent> extents);

// A unit on its way to being prepared; shared by the connections that wait for it.
class PreparedUnit {
 public:
  explicit PreparedUnit(Unit unit) : unit_(std::move(unit)) {}

  const Unit& unit() const { return unit_; }
  // Blocks until it is prepared. Lives as long as this object.
  const Result<std::vector<PreparedFrame>>& wait();
  bool failed() const;
  // True once there are frames.
  bool is_prepared() const;
  struct Packing {
    codec::Packed all;
    codec::Packed sample;
  };
  // Valid once it is prepared.
  const Packing& packing() const { return packing_; }

 private:
  friend class ExtentEngine;
  // False if a worker has taken it already.
  bool claim() { return !claimed_.exchange(true, std::memory_order_relaxed); }
  void finish(Result<std::vector<PreparedFrame>> frames, const Packing& packing);

  const Unit unit_;
  std::atomic<bool> claimed_ = false;
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  std::optional<Result<std::vector<PreparedFrame>>> frames_;  // guarded by mutex_ until it is set
  Packing packing_;
};

struct ExtentEngineCounters {
  std::atomic<std::uint64_t> units_prepared = 0;
  std::atomic<std::uint64_t> units_shared = 0;  // asked for again, and not prepared again
};

class ExtentEngine {
 public:
  struct Options {
    unsigned workers = 4;  // and one more, for what readers are blocked on alone
    std::uint64_t shared_bytes = 32 * 1024 * 1024;
  };
  // The source must outlive it.
  ExtentEngine(source::Source& source, const Options& options);
  ~ExtentEngine();
  ExtentEngine(const ExtentEngine&) = delete;
  ExtentEngine& operator=(const ExtentEngine&) = delete;

  // One connection's place in the turns. What it has submitted and nobody has begun is forgotten
  // with it.
  class Queue {
   public:
    explicit Queue(ExtentEngine& engine);
    ~Queue();
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    std::shared_ptr<PreparedUnit> submit(Unit unit);

   private:
    friend class ExtentEngine;
    ExtentEngine& engine_;
    std::deque<std::shared_ptr<PreparedUnit>> waiting_;  // guarded by the engine's mutex
    bool sends_bulk_ = false;                            // as this
  };

  // The units of a request; of one for compressed extents, cut between these, as far as they lie
  // within it.
  std::vector<Unit> cut(const ExtentsRequest& request) const;

  PeerLinks& links() { return links_; }

  // How much of each connection may be prepared and not sent: less with many that are busy, but two
  // units, so that one can be prepared while another is sent.
  std::uint64_t window_bytes() const;
  // A connection has something to send now, or has nothing any more.
  void note_busy(bool busy) {
    if (busy)
      ++busy_connections_;
    else
      --busy_connections_;
  }

  const ExtentEngineCounters& counters() const { return counters_; }

 private:
  struct Key {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    auto operator<=>(const Key&) const = default;
  };
  static Key key_of(const Unit& unit);
  std::shared_ptr<PreparedUnit> find_shared(const Unit& unit, Key key);
  void share(Key key, const std::shared_ptr<PreparedUnit>& unit);
  std::shared_ptr<PreparedUnit> next(bool demand_only);
  std::shared_ptr<PreparedUnit> next_of(source::Priority priority);
  static std::shared_ptr<PreparedUnit> take_from(Queue& queue);
  void work(const std::stop_token& stop, bool demand_only);
  void prepare(PreparedUnit& prepared);
  struct Read;
  Result<Read> read(const Unit& unit) const;
  source::Priority priority_of(const Unit& unit) const;

  source::Source& source_;
  const Options options_;
  ExtentEngineCounters counters_;
  PeerLinks links_;
  std::atomic<std::uint64_t> busy_connections_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable_any bulk_;    // bulk waits: for all workers but the one for demand
  std::condition_variable_any demand_;  // demand waits: for that one
  // Guarded by mutex_:
  std::list<Queue*> queues_;  // who is served next stands first
  std::size_t bulk_queues_ = 0;
  std::map<Key, std::shared_ptr<PreparedUnit>> shared_;
  std::deque<Key> shared_order_;  // oldest first
  std::uint64_t shared_size_ = 0;
  std::vector<std::jthread> workers_;  // last: they use all of the above
};

}  // namespace icbd::wire
