#include "serve_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "icbd/base/clock.h"

#include "address.h"
#include "extent_stream.h"
#include "frame_socket.h"
#include "messages.h"
#include "pace.h"
#include "packing_sender.h"

namespace icbd::wire {
namespace {

// A peer that connects and says nothing holds a thread no longer than this.
constexpr std::chrono::milliseconds hello_timeout{10'000};
// Of shapes, catalogs and pages where nothing else was asked for: faster than most links.
constexpr codec::Setting default_packing{.algorithm = codec::Algorithm::lz4};

bool is_unpacked_by(const Hello& peer, codec::Algorithm algorithm) {
  return algorithm == codec::Algorithm::none ||
         std::ranges::find(peer.unpacks, algorithm) != peer.unpacks.end();
}

// What the peer asked for, if it can unpack that itself.
std::optional<codec::Setting> packing_for(const Hello& peer) {
  if (peer.packing && !is_unpacked_by(peer, peer.packing->algorithm)) return codec::Setting{};
  return peer.packing;
}

std::vector<codec::Candidate> candidates_for(const Hello& peer) {
  std::vector<codec::Candidate> candidates = codec::default_candidates();
  std::erase_if(candidates, [&](const codec::Candidate& candidate) {
    return !is_unpacked_by(peer, candidate.setting.algorithm);
  });
  return candidates;
}

// What the kernel sends comes in pieces as small as a pipe's buffer: they are put together into
// larger frames. `sent` is called after each.
class PieceSender {
 public:
  PieceSender(PackingSender& sender, FrameType type, std::uint32_t request_id,
              std::function<void()> sent = {})
      : sender_(sender), type_(type), request_id_(request_id), sent_(std::move(sent)) {}

  Status add(ByteView piece) {
    while (!piece.empty()) {
      const ByteView part = piece.first(std::min(piece.size(), data_frame_bytes - waiting_.size()));
      waiting_.insert(waiting_.end(), part.begin(), part.end());
      piece = piece.subspan(part.size());
      if (waiting_.size() == data_frame_bytes) ICBD_TRY(flush());
    }
    return {};
  }

  Status flush() {
    if (waiting_.empty()) return {};
    ICBD_TRY(sender_.send({.type = type_, .request_id = request_id_}, waiting_));
    waiting_.clear();
    if (sent_) sent_();
    return {};
  }

 private:
  PackingSender& sender_;
  const FrameType type_;
  const std::uint32_t request_id_;
  const std::function<void()> sent_;
  Bytes waiting_;
};

// One connection's session: hello, then one request after the other. A Status that is an error
// means that the connection is of no more use; what the source refuses is answered instead.
class Session {
 public:
  Session(FrameSocket& socket, source::Source& source, ExtentEngine& engine,
          ServerCounters& counters, const Logger& logger)
      : socket_(socket), source_(source), engine_(engine), counters_(counters), logger_(logger) {}

  Status greet();
  Status serve();
  const std::string& peer() const { return peer_; }

 private:
  Status answer(const IncomingFrame& request);
  Status answer_catalog(const IncomingFrame& request);
  Status answer_shape(const IncomingFrame& request);
  Status answer_pages(const IncomingFrame& request);
  Status answer_extents(const IncomingFrame& request);
  Status answer_stream(const IncomingFrame& request);
  Status send_whole(FrameType type, std::uint32_t request_id, ByteView payload);
  Status send_error(std::uint32_t request_id, const Error& error);

  FrameSocket& socket_;
  source::Source& source_;
  ExtentEngine& engine_;
  ServerCounters& counters_;
  const Logger& logger_;
  std::string peer_ = "a peer that has not said its name";
  // Both from hello on.
  std::optional<PackingSender> sender_;
  std::optional<ExtentStream> extents_;
};

Status Session::greet() {
  ICBD_TRY(socket_.set_receive_timeout(hello_timeout));
  ICBD_ASSIGN(const IncomingFrame frame, socket_.receive());
  if (frame.header.type != FrameType::hello)
    return fail(ErrorCode::corrupt, "the first frame is not hello");
  ICBD_ASSIGN(const Hello hello, decode_hello(frame.payload));
  if (hello.channel != ChannelKind::bulk) socket_.retransmit_early();
  const Hello reply{.protocol = protocol_version,
                    .role = NodeRole::master,
                    .channel = hello.channel,
                    .node_name = local_host_name()};
  // Also to a peer of another version: it learns from the reply what this one speaks.
  ICBD_TRY(socket_.send({.type = FrameType::hello_reply, .request_id = frame.header.request_id},
                        encode(reply)));
  if (hello.protocol != protocol_version)
    return fail(ErrorCode::unsupported,
                fmt::format("the peer speaks version {} of the data protocol, this node version {}",
                            hello.protocol, protocol_version));
  peer_ = fmt::format("{} ({})", hello.node_name, to_string(hello.channel));
  logger_->info("{} connected", peer_);
  const auto packing = packing_for(hello);
  const bool unpacks_default = is_unpacked_by(hello, default_packing.algorithm);
  sender_.emplace(socket_, packing.value_or(unpacks_default ? default_packing : codec::Setting{}));
  extents_.emplace(
      socket_, engine_,
      ExtentStream::Packing{
          .peer = hello.node_name, .wanted = packing, .candidates = candidates_for(hello)});
  return socket_.set_receive_timeout(std::chrono::milliseconds(0));
}

Status Session::serve() {
  while (true) {
    ICBD_ASSIGN(const IncomingFrame request, socket_.receive());
    counters_.requests.fetch_add(1, std::memory_order_relaxed);
    ICBD_TRY(answer(request));
  }
}

Status Session::answer(const IncomingFrame& request) {
  switch (request.header.type) {
    case FrameType::catalog:
      return answer_catalog(request);
    case FrameType::shape:
      return answer_shape(request);
    case FrameType::pages:
      return answer_pages(request);
    case FrameType::extents:
      return answer_extents(request);
    case FrameType::stream:
      return answer_stream(request);
    default:
      return fail(ErrorCode::corrupt, fmt::format("a frame of type {} is not a request",
                                                  static_cast<unsigned>(request.header.type)));
  }
}

Status Session::answer_catalog(const IncomingFrame& request) {
  ICBD_ASSIGN(const CatalogRequest asked, decode_catalog_request(request.payload));
  const auto snapshot = source_.catalog(asked.known);
  const std::uint32_t id = request.header.request_id;
  if (!snapshot) return send_error(id, snapshot.error());
  const Bytes payload = encode(*snapshot);
  if (payload.size() > catalog_bytes)
    return send_error(id, Error(ErrorCode::too_large,
                                fmt::format("the catalog is over {} bytes", catalog_bytes)));
  return send_whole(FrameType::catalog_reply, id, payload);
}

Status Session::answer_shape(const IncomingFrame& request) {
  ICBD_ASSIGN(const source::ShapeRequest asked, decode_shape_request(request.payload));
  const std::uint32_t id = request.header.request_id;
  PieceSender sender(*sender_, FrameType::shape_data, id);
  Status sent;  // what the sink saw of the connection, apart from what the source says
  const source::ShapeSink sink{.begin =
                                   [&](const source::ShapeBegin& begin) {
                                     return sent = socket_.send(
                                                {.type = FrameType::shape_begin, .request_id = id},
                                                encode(begin));
                                   },
                               .data = [&](ByteView piece) { return sent = sender.add(piece); }};
  const Status done = source_.shape(asked, sink);
  ICBD_TRY(sent);
  if (!done) return send_error(id, done.error());
  ICBD_TRY(sender.flush());
  return socket_.send({.type = FrameType::shape_end, .request_id = id});
}

Status Session::answer_pages(const IncomingFrame& request) {
  ICBD_ASSIGN(const PagesRequest asked, decode_pages_request(request.payload));
  const std::uint32_t id = request.header.request_id;
  const auto pages = source_.pages(asked.manifest, asked.digests);
  if (!pages) return send_error(id, pages.error());
  const Bytes payload = encode_pages_reply(*pages);
  if (payload.size() > pages_reply_bytes)
    return send_error(id, Error(ErrorCode::too_large,
                                fmt::format("the pages asked for are over {} bytes: ask for fewer "
                                            "at a time",
                                            pages_reply_bytes)));
  return send_whole(FrameType::pages_reply, id, payload);
}

Status Session::answer_extents(const IncomingFrame& request) {
  ICBD_ASSIGN(const ExtentsRequest asked, decode_extents_request(request.payload));
  return extents_->answer(request.header.request_id, asked);
}

// From this thread: nothing else is asked for on a connection with a stream.
Status Session::answer_stream(const IncomingFrame& request) {
  ICBD_ASSIGN(const source::StreamRequest asked, decode_stream_request(request.payload));
  const std::uint32_t id = request.header.request_id;
  const SystemClock clock;
  Pacer pacer;
  PieceSender sender(*sender_, FrameType::stream_data, id, [&] {
    const auto now = clock.now();
    if (!pacer.is_due(now)) return;
    const auto sample = socket_.link_sample();
    if (!sample) return;
    if (const auto rate = pacer.update(now, *sample)) socket_.limit_rate(*rate);
  });
  Status sent;  // what was seen of the connection, apart from what the source says
  const Status done =
      source_.stream(asked, [&](ByteView piece) { return sent = sender.add(piece); });
  ICBD_TRY(sent);
  if (!done) return send_error(id, done.error());
  ICBD_TRY(sender.flush());
  return socket_.send({.type = FrameType::stream_end, .request_id = id});
}

Status Session::send_whole(FrameType type, std::uint32_t request_id, ByteView payload) {
  while (payload.size() > data_frame_bytes) {
    ICBD_TRY(sender_->send({.type = type, .request_id = request_id, .flags = flag_more},
                           payload.first(data_frame_bytes)));
    payload = payload.subspan(data_frame_bytes);
  }
  return sender_->send({.type = type, .request_id = request_id}, payload);
}

Status Session::send_error(std::uint32_t request_id, const Error& error) {
  logger_->debug("{}: answered with an error: {}", peer_, error.message());
  return socket_.send({.type = FrameType::error, .request_id = request_id}, encode(error));
}

}  // namespace

void serve_connection(unique_fd socket, source::Source& source, ExtentEngine& engine,
                      ServerCounters& counters, const Logger& logger) {
  tune_connection(socket.get());
  FrameSocket frames(std::move(socket), {counters.bytes_sent, counters.bytes_received});
  Session session(frames, source, engine, counters, logger);
  counters.connections.fetch_add(1, std::memory_order_relaxed);
  Status ended = session.greet();
  if (ended) ended = session.serve();
  counters.connections.fetch_sub(1, std::memory_order_relaxed);
  // Leaving is how a connection normally ends.
  const bool left = ended.error().code() == ErrorCode::unavailable;
  logger->log(left ? spdlog::level::info : spdlog::level::warn, "the connection of {} ended: {}",
              session.peer(), ended.error().message());
}

}  // namespace icbd::wire
