// A Source over the network: a master's data service.
//
// Purpose: connects when it is first needed and again after a lost connection. Four connections,
// because the master answers the requests of one in order: control (catalog, shape), demand
// (pages, demand extents), bulk, and streams, so that a blocked reader is never behind a shape or
// bulk, nor the extents of one version behind the stream of another.
// Several requests are in flight on each; replies are matched by request id.
// Lifecycle: construct, use from any thread, stop(): calls under way and later ones fail
// `cancelled` (one that is connecting, when its Connector returns). Destroy when no call is left.
// Guarantees: thread-safe. Sinks and `received` run on the thread that called; a slow one holds up
// the other calls of its connection only when reply_queue_bytes are waiting. A sink must
// not call shape() or catalog(), nor `received` extents() of its own priority, nor `data` stream().
// A stream that `data` ends costs its connection: nothing else would stop the master. A frame with
// a bad checksum, sequence or length closes the connection and fails what was in flight with
// `unavailable`: it was damaged on the way, and asking again may help. An answer that is whole and
// still not one to the request is `corrupt`.
// Silence for longer than `stall_timeout` while something is awaited closes it with `timed_out`.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "icbd/base/log.h"
#include "icbd/base/unique_fd.h"
#include "icbd/codec/codec.h"
#include "icbd/source/source.h"

namespace icbd::wire {

// Makes a connected stream socket in blocking mode. Tests hand in socketpairs.
using Connector = std::function<Result<unique_fd>()>;

// "127.0.0.1:5010", "[::1]:5010" or "imgs.example:5010"; within `timeout`.
Connector tcp_connector(std::string address, std::chrono::milliseconds timeout);

// Frames of one connection that wait for slow callers. What comes faster than it is verified and
// written should wait in the network: what waits here is no longer in the processor's own memory
// when it is its turn.
inline constexpr std::size_t reply_queue_bytes = 8 * 1024 * 1024;

struct RemoteSourceOptions {
  std::string node_name;  // said in hello, for the master's log and status
  std::chrono::milliseconds stall_timeout{10'000};
  // How the master is to pack what it sends; none: as suits the link and the data.
  std::optional<codec::Setting> packing = {};
};

class RemoteSource final : public source::Source {
 public:
  RemoteSource(Connector connector, RemoteSourceOptions options, Logger logger);
  ~RemoteSource() override;

  Result<std::optional<source::CatalogSnapshot>> catalog(
      const std::optional<source::KnownCatalog>& known) override;
  Status shape(const source::ShapeRequest& request, const source::ShapeSink& sink) override;
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override;
  Status extents(const Digest& manifest, std::span<const source::Extent> extents,
                 source::Priority priority,
                 const std::function<Status(const source::ExtentData&)>& received) override;
  Status stream(const source::StreamRequest& request,
                const std::function<Status(ByteView)>& data) override;
  Status encoded_extents(const Digest& manifest, std::span<const source::Extent> extents,
                         const source::EncodedSink& sink) override;

  void stop();
  // Bytes of frames, headers included, since construction.
  std::uint64_t bytes_received() const;
  std::uint64_t bytes_sent() const;
  // Of extents, as they came out of their packing.
  std::uint64_t bytes_unpacked() const;
  // How the master packs what is fetched in the background, and why, in words, as in
  // "zstd:3: link 12.5 MB/s, packs to 0.49"; empty before the first such answer.
  std::string packing() const;
  // True if the last attempt to reach the master worked.
  bool reachable() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace icbd::wire
