#include "extent_stream.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

namespace icbd::wire {
namespace {

// Bulk that waits in the socket is bulk that a reader's bytes wait behind, and that cannot be
// packed any better when the link turns out to be slow.
constexpr int unsent_bytes = 256 * 1024;
// On a slow link, what it carries in so much time: a reader's bytes wait behind it.
constexpr double unsent_seconds = 0.01;
constexpr double unsent_bytes_min = 32 * 1024;
// Of one frame: what is in it is of use when all of it has come.
constexpr double frame_seconds = 0.01;
constexpr double frame_bytes_min = limits::chunk_size;
constexpr double frame_bytes_max = 1024 * 1024;
// What an answer takes beside its bytes, and each extent in it: a peer could ask for many of one
// byte, or of none.
constexpr std::uint64_t item_bytes = 1024;

std::uint64_t bytes_of(const ExtentsRequest& request) {
  std::uint64_t bytes = 0;
  for (const source::Extent& extent : request.extents) bytes += extent.range.length;
  return bytes;
}

std::uint64_t frame_bytes_for(std::optional<double> rate) {
  if (!rate) return static_cast<std::uint64_t>(frame_bytes_max);
  return static_cast<std::uint64_t>(
      std::clamp(*rate * frame_seconds, frame_bytes_min, frame_bytes_max));
}

}  // namespace

ExtentStream::ExtentStream(FrameSocket& socket, ExtentEngine& engine, Packing packing)
    : socket_(socket),
      engine_(engine),
      queue_(engine),
      peer_(std::move(packing.peer)),
      wanted_(packing.wanted),
      choice_(packing.candidates) {
  // Half of the processors: the others are the disk's, the checksums' and everybody else's.
  const double cores = std::max(1.0, std::thread::hardware_concurrency() / 2.0);
  choice_.set_cores(cores, cores);
  socket_.limit_unsent(unsent_bytes);
}

ExtentStream::~ExtentStream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  socket_.shut_down();  // the sender may be waiting for the peer
  changed_.notify_all();
  if (sender_.joinable()) sender_.join();
  set_waiting_bytes(0);
}

Status ExtentStream::answer(std::uint32_t request_id, const ExtentsRequest& request) {
  ICBD_TRY(start_sender());
  const std::uint64_t frame_bytes = frame_bytes_for(engine_.links().rate(peer_));
  std::unique_ptr<PeerLinks::Reader> reader;
  if (request.priority == source::Priority::demand)
    reader = std::make_unique<PeerLinks::Reader>(engine_.links(), peer_, bytes_of(request));
  for (Unit& unit : engine_.cut(request)) {
    const std::uint64_t bytes = unit.bytes() + (1 + unit.extents.size()) * item_bytes;
    // What the peer cannot take yet is not prepared.
    ICBD_TRY(wait_for_room(bytes));
    const codec::Choice::Plan planned = plan();
    unit.setting = planned.setting;
    unit.sample = planned.sample;
    unit.frame_bytes = frame_bytes;
    push({.request_id = request_id,
          .unit = queue_.submit(std::move(unit)),
          .plan = planned,
          .bytes = bytes});
  }
  ICBD_TRY(wait_for_room(item_bytes));
  push({.request_id = request_id,
        .unit = nullptr,
        .plan = {},
        .bytes = item_bytes,
        .reader = std::move(reader)});
  return {};
}

Status ExtentStream::start_sender() {
  if (sender_.joinable()) return {};
  try {
    sender_ = std::thread([this] { send_all(); });
  } catch (const std::exception& error) {
    return fail(ErrorCode::busy, fmt::format("start a thread that sends: {}", error.what()));
  }
  return {};
}

codec::Choice::Plan ExtentStream::plan() {
  if (wanted_) return {.setting = *wanted_, .sample = {}};
  const std::lock_guard lock(mutex_);
  return choice_.plan();
}

std::string ExtentStream::why() const {
  if (wanted_) return codec::to_string(*wanted_) + ": asked for";
  const std::lock_guard lock(mutex_);
  return choice_.why();
}

Status ExtentStream::wait_for_room(std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return failure_ || waiting_bytes_ == 0 || waiting_bytes_ + bytes <= engine_.window_bytes();
  });
  if (failure_) return std::unexpected(*failure_);
  return {};
}

// With mutex_ held, or the sender gone.
void ExtentStream::set_waiting_bytes(std::uint64_t bytes) {
  const bool was_busy = waiting_bytes_ != 0;
  waiting_bytes_ = bytes;
  if (was_busy != (bytes != 0)) engine_.note_busy(bytes != 0);
}

void ExtentStream::push(Item item) {
  {
    const std::lock_guard lock(mutex_);
    set_waiting_bytes(waiting_bytes_ + item.bytes);
    items_.push_back(std::move(item));
  }
  changed_.notify_all();
}

void ExtentStream::send_all() {
  pthread_setname_np(pthread_self(), "extents-send");
  while (true) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      if (items_.empty()) link_.idle();
      changed_.wait(lock, [&] { return closing_ || !items_.empty(); });
      if (closing_) return;
      item = std::move(items_.front());
      items_.pop_front();
    }
    const Status sent = send(item);
    const std::lock_guard lock(mutex_);
    set_waiting_bytes(waiting_bytes_ - item.bytes);
    if (sent) {
      learn(item);
    } else {
      failure_ = sent.error();
      socket_.shut_down();
    }
    changed_.notify_all();
    if (failure_) return;
  }
}

bool ExtentStream::is_bulk(const Item& item) {
  return item.unit && item.unit->unit().priority == source::Priority::bulk;
}

Status ExtentStream::send(const Item& item) {
  const bool given_up = failed_request_ == item.request_id;
  if (!item.unit) {
    failed_request_.reset();
    if (given_up) return {};
    return socket_.send({.type = FrameType::extents_end, .request_id = item.request_id},
                        encode_extents_end(why()));
  }
  if (given_up) return {};
  const auto& frames = item.unit->wait();
  if (!frames) {
    failed_request_ = item.request_id;
    return socket_.send({.type = FrameType::error, .request_id = item.request_id},
                        encode(frames.error()));
  }
  for (const PreparedFrame& frame : *frames) ICBD_TRY(send_frame(item, frame));
  return {};
}

Status ExtentStream::send_frame(const Item& item, const PreparedFrame& frame) {
  const bool bulk = is_bulk(item);
  const std::vector<ByteView> pieces = frame.pieces();
  std::uint64_t bytes = frame_header_size;
  for (const ByteView piece : pieces) bytes += piece.size();
  if (bulk)
    engine_.links().give_way(peer_, bytes);
  else
    pace_reader(bytes);
  ICBD_ASSIGN(const auto waited,
              socket_.send_measured({.type = frame.type,
                                     .request_id = item.request_id,
                                     .codec = static_cast<std::uint8_t>(frame.codec),
                                     .plain_length = frame.plain_length},
                                    pieces));
  link_.sent(bytes, waited);
  const auto now = clock_.now();
  if (!bulk || !pacer_.is_due(now)) return {};
  if (const auto sample = socket_.link_sample()) {
    note_delivered(static_cast<double>(sample->delivered_per_second));
    pace_bulk(pacer_.update(now, *sample));
  }
  if (!link_.bytes_per_second()) return {};
  if (const auto rate = link()) {
    engine_.links().set_rate(peer_, *rate);
    socket_.limit_unsent(static_cast<int>(
        std::clamp<double>(*rate * unsent_seconds, unsent_bytes_min, unsent_bytes)));
  }
  return {};
}

void ExtentStream::pace_bulk(std::optional<std::uint64_t> rate) {
  if (rate || is_paced_) socket_.limit_rate(rate.value_or(FrameSocket::unlimited));
  is_paced_ = rate.has_value();
}

// All at once, the end of what a reader is sent would be lost in the short queue of a slow link
// beside bulk, and missed only much later. Over a long way TCP sends no more than comes back; and
// there the kernel would spread what fits the window over the better part of a round trip, as it
// does once any limit was set (net/ipv4/tcp_input.c, tcp_update_pacing_rate).
void ExtentStream::pace_reader(std::uint64_t bytes) {
  const auto pace = engine_.links().pace_of_readers(peer_);
  if (!pace) {
    if (std::exchange(is_paced_, false)) socket_.limit_rate(FrameSocket::unlimited);
    return;
  }
  const auto sample = socket_.link_sample();
  const std::chrono::duration<double> crossing(static_cast<double>(bytes) / *pace);
  if (!sample || sample->shortest_round_trip > crossing) return;
  is_paced_ = true;
  socket_.limit_rate(static_cast<std::uint64_t>(*pace));
}

void ExtentStream::note_delivered(double bytes_per_second) {
  constexpr std::size_t remembered = 7;
  delivered_.push_back(bytes_per_second);
  if (delivered_.size() > remembered) delivered_.pop_front();
}

// What this connection has measured if it sends bulk, else another one of the same peer. A peer
// that is slow to take what comes, because its disk is, makes us wait as a slow link does; but then
// what the kernel sees delivered comes in bursts that no slow link could carry.
std::optional<double> ExtentStream::link() const {
  const auto measured = link_.bytes_per_second();
  if (!measured || delivered_.empty()) {
    // What a reader is sent fits the socket's buffer: how fast it is taken says little.
    const auto known = engine_.links().rate(peer_);
    return known ? known : measured;
  }
  std::vector<double> rates(delivered_.begin(), delivered_.end());
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::ranges::nth_element(rates, middle);
  return std::max(*measured, *middle);
}

// With mutex_ held. Of a request that was given up, nothing was waited for.
void ExtentStream::learn(const Item& item) {
  if (!item.unit || wanted_ || !item.unit->is_prepared()) return;
  const auto& packing = item.unit->packing();
  choice_.set_link(link());
  if (packing.all.plain == 0) return;  // all of it is packed on the disk
  choice_.packed(item.plan, packing.all, packing.sample);
}

}  // namespace icbd::wire
