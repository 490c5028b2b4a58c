// The answers with extents of one connection, in the order in which they were asked for.
//
// Purpose: takes requests from the thread that receives, has their units prepared ahead, and sends
// them from a thread of its own: while a unit crosses the link, the next ones are read and packed,
// also those of the next request.
// Lifecycle: construct, answer() for each request; the destructor gives up what was not sent. The
// first failure to send shuts the socket down, so that the receiving thread ends too.
// Bulk gives way to what readers of the same peer are blocked on, frame by frame, and a frame is no
// longer than the link carries in a moment, or a chunk; what readers are sent is paced while bulk
// is sent too. Guarantees: answer() is for one thread. At most the engine's window_bytes of one
// connection are prepared and not sent, or one unit: a slow peer holds no more. A request that
// fails is answered with an error frame in the place of what is left of it; the others go on.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "icbd/base/clock.h"
#include "icbd/codec/choice.h"
#include "icbd/codec/link_meter.h"

#include "extent_engine.h"
#include "frame_socket.h"
#include "messages.h"
#include "pace.h"

namespace icbd::wire {

class ExtentStream {
 public:
  struct Packing {
    std::string peer = {};                      // its name
    std::optional<codec::Setting> wanted = {};  // none: of these what suits the link and the data
    std::vector<codec::Candidate> candidates = codec::default_candidates();
  };
  ExtentStream(FrameSocket& socket, ExtentEngine& engine, Packing packing);
  ~ExtentStream();
  ExtentStream(const ExtentStream&) = delete;
  ExtentStream& operator=(const ExtentStream&) = delete;

  // Queues the answer; blocks while the window is full. An error if nothing can be sent any more.
  Status answer(std::uint32_t request_id, const ExtentsRequest& request);

  // How it packs at present, and why.
  std::string why() const;

 private:
  struct Item {
    std::uint32_t request_id = 0;
    std::shared_ptr<PreparedUnit> unit;  // null: the request's end
    codec::Choice::Plan plan = {};
    std::uint64_t bytes = 0;
    // Of a request's end, if a reader waits for it: until that is sent, or given up.
    std::unique_ptr<PeerLinks::Reader> reader = {};
  };
  Status start_sender();
  codec::Choice::Plan plan();
  Status wait_for_room(std::uint64_t bytes);
  void set_waiting_bytes(std::uint64_t bytes);
  void push(Item item);
  void send_all();
  static bool is_bulk(const Item& item);
  Status send(const Item& item);
  Status send_frame(const Item& item, const PreparedFrame& frame);
  std::optional<double> link() const;
  void pace_bulk(std::optional<std::uint64_t> rate);
  void pace_reader(std::uint64_t bytes);
  void note_delivered(double bytes_per_second);
  void learn(const Item& item);

  FrameSocket& socket_;
  ExtentEngine& engine_;
  ExtentEngine::Queue queue_;
  const std::string peer_;
  const std::optional<codec::Setting> wanted_;
  const SystemClock clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<Item> items_;
  std::uint64_t waiting_bytes_ = 0;
  std::optional<Error> failure_;
  bool closing_ = false;
  codec::Choice choice_;
  // Of the sending thread:
  codec::LinkMeter link_{clock_};
  Pacer pacer_;
  bool is_paced_ = false;
  std::deque<double> delivered_;  // the last few rates that the kernel has seen
  std::optional<std::uint32_t> failed_request_;
  std::thread sender_;  // begun with the first request
};

}  // namespace icbd::wire
