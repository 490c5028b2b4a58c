// Frames over one connected stream socket.
//
// Purpose: the seam between the protocol and the way bytes reach the kernel: plain blocking calls
// now. It numbers and checks frames in both directions and counts bytes; it knows nothing of
// messages.
// Lifecycle: construct with a connected socket in blocking mode. After an error the connection is
// of no more use: shut_down() and destroy.
// Guarantees: send() is thread-safe: frames never mix. receive() is for one thread at a time.
// shut_down() may be called from any thread and wakes both. A payload is allocated only after its
// length was held against limits::frame_payload, and returned only after its checksum matched.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"
#include "icbd/wire/frame.h"

#include "pace.h"
#include "payload_buffers.h"

namespace icbd::wire {

// Where a socket counts its bytes, headers included; outlives it.
struct TrafficCounters {
  std::atomic<std::uint64_t>& sent;
  std::atomic<std::uint64_t>& received;
};

struct OutgoingFrame {
  FrameType type{};
  std::uint32_t request_id = 0;
  std::uint8_t flags = 0;
  std::uint8_t codec = 0;          // what the payload was packed with
  std::uint32_t plain_length = 0;  // if it was
};

struct IncomingFrame {
  FrameHeader header;
  std::shared_ptr<const void> buffer;  // keeps `payload` alive
  ByteView payload;
};

class FrameSocket {
 public:
  FrameSocket(unique_fd socket, TrafficCounters traffic);

  // Sends the pieces as one payload. `too_large` over limits::frame_payload.
  Status send(const OutgoingFrame& frame, std::span<const ByteView> pieces);
  Status send(const OutgoingFrame& frame, ByteView payload = {});
  // The same; returns how long the socket took nothing.
  Result<std::chrono::steady_clock::duration> send_measured(const OutgoingFrame& frame,
                                                            std::span<const ByteView> pieces);
  // The next frame. `unavailable` if the peer has closed the connection.
  Result<IncomingFrame> receive();

  void shut_down();
  // A call that moves no byte for so long fails `timed_out`; 0: for ever, as at first.
  Status set_receive_timeout(std::chrono::milliseconds timeout);
  void set_send_timeout(std::chrono::milliseconds timeout);
  // When it was last seen that the peer goes on: with the end of a frame, and with each 4 KiB of
  // one. A peer that gives a byte now and then makes none.
  std::chrono::steady_clock::time_point last_progress() const;

  // What a TCP connection has not put on the wire yet is bounded by so much; no effect on others.
  void limit_unsent(int bytes);
  // Bytes per second, of TCP.
  void limit_rate(std::uint64_t bytes_per_second);
  static constexpr std::uint64_t unlimited = ~std::uint64_t{0};  // socket(7): SO_MAX_PACING_RATE
  // What gets lost is sent again 50 ms after it could have been acknowledged, instead of 200: for
  // connections on which somebody waits for each frame. Linux 6.15; no effect before.
  void retransmit_early();
  // None if it is not TCP.
  std::optional<LinkSample> link_sample() const;

  const PayloadBuffers& buffers() const { return buffers_; }

 private:
  Status receive_exactly(std::span<std::byte> buffer, bool at_frame_start);
  void note_progress();

  unique_fd socket_;
  TrafficCounters traffic_;
  std::atomic<std::chrono::milliseconds> send_timeout_ = std::chrono::milliseconds(0);
  std::mutex send_mutex_;
  std::uint32_t send_sequence_ = 0;     // guarded by send_mutex_
  std::uint32_t receive_sequence_ = 0;  // of the receiving thread
  std::size_t received_unnoted_ = 0;    // as this
  PayloadBuffers buffers_;
  std::atomic<std::chrono::steady_clock::time_point> last_progress_;
};

}  // namespace icbd::wire
