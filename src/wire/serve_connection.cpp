// The answering side of one connection.
#include <fmt/format.h>

#include <algorithm>

#include "icbd/wire/server.h"

#include "address.h"
#include "frame_socket.h"
#include "messages.h"

namespace icbd::wire {
namespace {

// A peer that connects and says nothing holds a thread no longer than this.
constexpr std::chrono::milliseconds hello_timeout{10'000};

// Packs extents into frames. What a frame refers to is kept alive until it is sent; nothing is
// copied but into the socket.
class ExtentPacker {
 public:
  ExtentPacker(FrameSocket& socket, std::uint32_t request_id)
      : socket_(socket), request_id_(request_id) {}

  Status add(const source::ExtentData& data) {
    if (data.all_zero ? !data.data.empty() : data.data.size() != data.extent.range.length)
      return fail(ErrorCode::internal, "the source delivered an extent of another length");
    if (bytes_ + data.data.size() > data_frame_bytes || batch_.size() == extents_per_frame)
      ICBD_TRY(flush());
    // The source may go on to reuse what it owns itself once this call returns.
    if (!data.owner && !data.data.empty()) return add_copy(data);
    batch_.push_back(data);
    bytes_ += data.data.size();
    return {};
  }

  Status flush() {
    if (batch_.empty()) return {};
    const Bytes table = encode_extents_table(batch_);
    std::vector<ByteView> pieces{table};
    for (const source::ExtentData& data : batch_) pieces.push_back(data.data);
    ICBD_TRY(socket_.send({.type = FrameType::extents_reply, .request_id = request_id_}, pieces));
    batch_.clear();
    bytes_ = 0;
    return {};
  }

 private:
  Status add_copy(const source::ExtentData& data) {
    const auto copy = std::make_shared<Bytes>(data.data.begin(), data.data.end());
    batch_.push_back({.extent = data.extent, .owner = copy, .data = *copy, .all_zero = false});
    bytes_ += copy->size();
    return {};
  }

  FrameSocket& socket_;
  const std::uint32_t request_id_;
  std::vector<source::ExtentData> batch_;
  std::size_t bytes_ = 0;
};

// A shape comes in pieces as small as a pipe's buffer: they are put together into larger frames.
class ShapeSender {
 public:
  ShapeSender(FrameSocket& socket, std::uint32_t request_id)
      : socket_(socket), request_id_(request_id) {}

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
    ICBD_TRY(socket_.send({.type = FrameType::shape_data, .request_id = request_id_}, waiting_));
    waiting_.clear();
    return {};
  }

 private:
  FrameSocket& socket_;
  const std::uint32_t request_id_;
  Bytes waiting_;
};

// One connection's session: hello, then one request after the other. A Status that is an error
// means that the connection is of no more use; what the source refuses is answered instead.
class Session {
 public:
  Session(FrameSocket& socket, source::Source& source, ServerCounters& counters,
          const Logger& logger)
      : socket_(socket), source_(source), counters_(counters), logger_(logger) {}

  Status greet();
  Status serve();
  const std::string& peer() const { return peer_; }

 private:
  Status answer(const IncomingFrame& request);
  Status answer_catalog(const IncomingFrame& request);
  Status answer_shape(const IncomingFrame& request);
  Status answer_pages(const IncomingFrame& request);
  Status answer_extents(const IncomingFrame& request);
  Status send_whole(FrameType type, std::uint32_t request_id, ByteView payload);
  Status send_error(std::uint32_t request_id, const Error& error);

  FrameSocket& socket_;
  source::Source& source_;
  ServerCounters& counters_;
  const Logger& logger_;
  std::string peer_ = "a peer that has not said its name";
};

Status Session::greet() {
  ICBD_TRY(socket_.set_receive_timeout(hello_timeout));
  ICBD_ASSIGN(const IncomingFrame frame, socket_.receive());
  if (frame.header.type != FrameType::hello)
    return fail(ErrorCode::corrupt, "the first frame is not hello");
  ICBD_ASSIGN(const Hello hello, decode_hello(frame.payload));
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
  ShapeSender sender(socket_, id);
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
  const std::uint32_t id = request.header.request_id;
  ExtentPacker packer(socket_, id);
  Status sent;
  const Status done =
      source_.extents(asked.manifest, asked.extents, asked.priority,
                      [&](const source::ExtentData& data) { return sent = packer.add(data); });
  ICBD_TRY(sent);
  if (!done) return send_error(id, done.error());
  ICBD_TRY(packer.flush());
  return socket_.send({.type = FrameType::extents_end, .request_id = id});
}

Status Session::send_whole(FrameType type, std::uint32_t request_id, ByteView payload) {
  while (payload.size() > data_frame_bytes) {
    ICBD_TRY(socket_.send({.type = type, .request_id = request_id, .flags = flag_more},
                          payload.first(data_frame_bytes)));
    payload = payload.subspan(data_frame_bytes);
  }
  return socket_.send({.type = type, .request_id = request_id}, payload);
}

Status Session::send_error(std::uint32_t request_id, const Error& error) {
  logger_->debug("{}: answered with an error: {}", peer_, error.message());
  return socket_.send({.type = FrameType::error, .request_id = request_id}, encode(error));
}

}  // namespace

void serve_connection(unique_fd socket, source::Source& source, ServerCounters& counters,
                      const Logger& logger) {
  tune_connection(socket.get());
  FrameSocket frames(std::move(socket), {counters.bytes_sent, counters.bytes_received});
  Session session(frames, source, counters, logger);
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
