#include "icbd/wire/remote_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "icbd/base/range_set.h"

#include "channel.h"
#include "messages.h"

namespace icbd::wire {
namespace {

std::unexpected<Error> unexpected_type(Reply& reply, const IncomingFrame& frame,
                                       std::string_view request) {
  return reply.refuse(
      Error(ErrorCode::corrupt, fmt::format("a frame of type {} came in answer to a request for {}",
                                            static_cast<unsigned>(frame.header.type), request)));
}

Status check_count(std::size_t count, std::size_t limit, std::string_view what) {
  if (count <= limit) return {};
  return fail(ErrorCode::too_large, fmt::format("{} {} were asked for at once, more than the {} "
                                                "allowed",
                                                count, what, limit));
}

// The payloads of a reply that spans several frames of one type, put together.
Result<Bytes> collect(Reply& reply, FrameType type, std::size_t limit, std::string_view request) {
  Bytes whole;
  while (true) {
    ICBD_ASSIGN(const IncomingFrame frame, reply.next());
    if (frame.header.type != type) return unexpected_type(reply, frame, request);
    if (whole.size() + frame.payload.size() > limit)
      return reply.refuse(
          Error(ErrorCode::too_large,
                fmt::format("the answer to a request for {} is over {} bytes", request, limit)));
    whole.insert(whole.end(), frame.payload.begin(), frame.payload.end());
    if (ends_reply(frame.header)) return whole;
  }
}

// The extents of a request that have not come yet. A request may name one twice.
class AwaitedExtents {
 public:
  explicit AwaitedExtents(std::span<const source::Extent> extents) {
    for (const source::Extent& extent : extents) awaited_.insert(key(extent));
  }
  // False if it was not asked for, or has come already.
  bool take(const source::Extent& extent) {
    const auto found = awaited_.find(key(extent));
    if (found == awaited_.end()) return false;
    awaited_.erase(found);
    return true;
  }
  std::size_t count() const { return awaited_.size(); }

 private:
  using Key = std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>;
  static Key key(const source::Extent& extent) {
    return {extent.file.value(), extent.range.offset, extent.range.length};
  }
  std::multiset<Key> awaited_;
};

// The bytes of a request that have not come yet, however they are cut.
class AwaitedBytes {
 public:
  explicit AwaitedBytes(std::span<const source::Extent> extents) {
    for (const source::Extent& extent : extents) awaited_[extent.file].add(extent.range);
  }
  // False if not all of it was asked for, or has come already.
  bool take(const source::Extent& part) {
    const auto found = awaited_.find(part.file);
    if (found == awaited_.end() || !found->second.remove(part.range)) return false;
    if (found->second.empty()) awaited_.erase(found);
    return true;
  }
  std::size_t count() const { return awaited_.size(); }

 private:
  std::map<FileIndex, RangeSet> awaited_;
};

using Received = std::function<Status(const source::ExtentData&)>;

std::unexpected<Error> not_asked_for(Reply& reply, const source::Extent& extent) {
  return reply.refuse(
      Error(ErrorCode::corrupt,
            fmt::format("{} bytes at {} of file {} came that were not asked for",
                        extent.range.length, extent.range.offset, extent.file.value())));
}

// Takes one frame of an answer with extents; `sink.encoded` is empty where none were asked for.
template <typename Awaited>
Status take_frame(Reply& reply, const IncomingFrame& frame, Awaited& awaited,
                  const source::EncodedSink& sink, std::atomic<std::uint64_t>& bytes_unpacked) {
  if (frame.header.type == FrameType::encoded_reply && sink.encoded) {
    auto extents = decode_encoded_reply(frame.payload, frame.buffer);
    if (!extents) return reply.refuse(std::move(extents).error());
    for (const source::EncodedExtent& extent : *extents) {
      if (!awaited.take({extent.file, extent.range}))
        return not_asked_for(reply, {extent.file, extent.range});
      bytes_unpacked.fetch_add(extent.range.length, std::memory_order_relaxed);
      ICBD_TRY(sink.encoded(extent));
    }
    return {};
  }
  if (frame.header.type != FrameType::extents_reply)
    return unexpected_type(reply, frame, "extents");
  bytes_unpacked.fetch_add(frame.payload.size(), std::memory_order_relaxed);
  auto extents = decode_extents_reply(frame.payload, frame.buffer);
  if (!extents) return reply.refuse(std::move(extents).error());
  for (const source::ExtentData& data : *extents) {
    if (!awaited.take(data.extent)) return not_asked_for(reply, data.extent);
    ICBD_TRY(sink.plain(data));
  }
  return {};
}

// Returns how the other side packed them, in words.
template <typename Awaited>
Result<std::string> receive_extents(Reply& reply, Awaited awaited, const source::EncodedSink& sink,
                                    std::atomic<std::uint64_t>& bytes_unpacked) {
  while (true) {
    ICBD_ASSIGN(const IncomingFrame frame, reply.next());
    if (frame.header.type != FrameType::extents_end) {
      ICBD_TRY(take_frame(reply, frame, awaited, sink, bytes_unpacked));
      continue;
    }
    auto packing = decode_extents_end(frame.payload);
    if (!packing) return reply.refuse(std::move(packing).error());
    if (awaited.count() == 0) return packing;
    return reply.refuse(
        Error(ErrorCode::corrupt,
              fmt::format("the answer ended with {} extents missing", awaited.count())));
  }
}

}  // namespace

struct RemoteSource::State {
  State(Connector connector, RemoteSourceOptions options, Logger logger)
      : environment{std::move(connector),
                    std::move(options),
                    std::move(logger),
                    {bytes_sent, bytes_received},
                    reachable} {}

  void set_packing(std::string words) {
    const std::lock_guard lock(mutex);
    packing = std::move(words);
  }

  std::atomic<std::uint64_t> bytes_sent = 0;
  std::atomic<std::uint64_t> bytes_received = 0;
  std::atomic<std::uint64_t> bytes_unpacked = 0;
  std::atomic<bool> reachable = false;
  std::mutex mutex;
  std::string packing;  // guarded by mutex
  const Channel::Environment environment;
  Channel control{ChannelKind::control, environment};
  Channel demand{ChannelKind::demand, environment};
  Channel bulk{ChannelKind::bulk, environment};
  Channel streams{ChannelKind::bulk, environment};
};

RemoteSource::RemoteSource(Connector connector, RemoteSourceOptions options, Logger logger)
    : state_(std::make_unique<State>(std::move(connector), std::move(options), std::move(logger))) {
}

RemoteSource::~RemoteSource() {
  stop();
}

void RemoteSource::stop() {
  state_->control.stop();
  state_->demand.stop();
  state_->bulk.stop();
  state_->streams.stop();
}

Result<std::optional<source::CatalogSnapshot>> RemoteSource::catalog(
    const std::optional<source::KnownCatalog>& known) {
  ICBD_ASSIGN(Reply reply,
              state_->control.ask(FrameType::catalog, encode(CatalogRequest{.known = known})));
  ICBD_ASSIGN(const Bytes payload,
              collect(reply, FrameType::catalog_reply, catalog_bytes, "the catalog"));
  auto snapshot = decode_catalog_reply(payload);
  if (!snapshot) return reply.refuse(std::move(snapshot).error());
  return snapshot;
}

Status RemoteSource::shape(const source::ShapeRequest& request, const source::ShapeSink& sink) {
  source::ShapeRequest bounded = request;
  // Best first: what is cut off is what would have served least.
  bounded.offered.resize(std::min(bounded.offered.size(), limits::offered_parents));
  ICBD_ASSIGN(Reply reply, state_->control.ask(FrameType::shape, encode(bounded)));
  ICBD_ASSIGN(const IncomingFrame first, reply.next());
  if (first.header.type != FrameType::shape_begin) return unexpected_type(reply, first, "a shape");
  auto begin = decode_shape_begin(first.payload);
  if (!begin) return reply.refuse(std::move(begin).error());
  const std::optional<Uuid>& parent = begin->parent;
  if (parent && std::ranges::find(bounded.offered, *parent) == bounded.offered.end())
    return reply.refuse(Error(ErrorCode::corrupt,
                              "a shape came against a parent that was not "
                              "offered"));
  ICBD_TRY(sink.begin(*begin));
  std::uint64_t total = 0;
  while (true) {
    ICBD_ASSIGN(const IncomingFrame frame, reply.next());
    if (frame.header.type == FrameType::shape_end) return {};
    if (frame.header.type != FrameType::shape_data) return unexpected_type(reply, frame, "a shape");
    total += frame.payload.size();
    if (total > limits::shape_bytes)
      return reply.refuse(Error(ErrorCode::too_large,
                                fmt::format("a shape is over {} bytes", limits::shape_bytes)));
    ICBD_TRY(sink.data(frame.payload));
  }
}

Result<std::vector<Bytes>> RemoteSource::pages(const Digest& manifest,
                                               std::span<const Digest> digests) {
  ICBD_TRY(check_count(digests.size(), limits::pages_per_request, "pages"));
  const PagesRequest request{.manifest = manifest, .digests = {digests.begin(), digests.end()}};
  ICBD_ASSIGN(Reply reply, state_->demand.ask(FrameType::pages, encode(request)));
  ICBD_ASSIGN(const Bytes payload,
              collect(reply, FrameType::pages_reply, pages_reply_bytes, "pages"));
  auto pages = decode_pages_reply(payload, digests.size());
  if (!pages) return reply.refuse(std::move(pages).error());
  return pages;
}

Status RemoteSource::extents(const Digest& manifest, std::span<const source::Extent> extents,
                             source::Priority priority, const Received& received) {
  ICBD_TRY(check_count(extents.size(), limits::extents_per_request, "extents"));
  for (const source::Extent& extent : extents) ICBD_TRY(check_extent(extent));
  const ExtentsRequest request{.manifest = manifest,
                               .priority = priority,
                               .encoded = false,
                               .extents = {extents.begin(), extents.end()}};
  Channel& channel = priority == source::Priority::demand ? state_->demand : state_->bulk;
  ICBD_ASSIGN(Reply reply, channel.ask(FrameType::extents, encode(request)));
  auto packing = receive_extents(reply, AwaitedExtents(extents), {.plain = received, .encoded = {}},
                                 state_->bytes_unpacked);
  if (!packing) return std::unexpected(std::move(packing).error());
  if (priority == source::Priority::bulk) state_->set_packing(std::move(*packing));
  return {};
}

Status RemoteSource::encoded_extents(const Digest& manifest,
                                     std::span<const source::Extent> extents,
                                     const source::EncodedSink& sink) {
  ICBD_TRY(check_count(extents.size(), limits::extents_per_request, "extents"));
  for (const source::Extent& extent : extents) ICBD_TRY(check_extent(extent));
  const ExtentsRequest request{.manifest = manifest,
                               .priority = source::Priority::bulk,
                               .encoded = true,
                               .extents = {extents.begin(), extents.end()}};
  ICBD_ASSIGN(Reply reply, state_->bulk.ask(FrameType::extents, encode(request)));
  auto packing = receive_extents(reply, AwaitedBytes(extents), sink, state_->bytes_unpacked);
  if (!packing) return std::unexpected(std::move(packing).error());
  state_->set_packing(std::move(*packing));
  return {};
}

Status RemoteSource::stream(const source::StreamRequest& request,
                            const std::function<Status(ByteView)>& data) {
  ICBD_ASSIGN(Reply reply, state_->streams.ask(FrameType::stream, encode(request)));
  while (true) {
    ICBD_ASSIGN(const IncomingFrame frame, reply.next());
    if (frame.header.type == FrameType::stream_end) return {};
    if (frame.header.type != FrameType::stream_data)
      return unexpected_type(reply, frame, "a stream");
    state_->bytes_unpacked.fetch_add(frame.payload.size(), std::memory_order_relaxed);
    // The master would go on sending: it hears of it by the end of the connection.
    if (const Status taken = data(frame.payload); !taken) return reply.refuse(taken.error());
  }
}

std::uint64_t RemoteSource::bytes_received() const {
  return state_->bytes_received;
}
std::uint64_t RemoteSource::bytes_sent() const {
  return state_->bytes_sent;
}
std::uint64_t RemoteSource::bytes_unpacked() const {
  return state_->bytes_unpacked;
}
std::string RemoteSource::packing() const {
  const std::lock_guard lock(state_->mutex);
  return state_->packing;
}
bool RemoteSource::reachable() const {
  return state_->reachable;
}

}  // namespace icbd::wire
