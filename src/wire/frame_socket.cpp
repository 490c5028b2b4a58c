#include "frame_socket.h"

#include <fmt/format.h>
#include <linux/tcp.h>  // netinet/tcp.h knows less of tcp_info
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

namespace icbd::wire {
namespace {

using std::chrono::steady_clock;

// Less than this in the time of a stall is none: a megabyte would take hours.
constexpr std::size_t progress_bytes = 4096;

// Drops what was sent from the front of the list.
void advance(std::span<iovec>& pieces, std::size_t sent) {
  while (!pieces.empty() && sent >= pieces.front().iov_len) {
    sent -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (pieces.empty()) return;
  pieces.front().iov_base = static_cast<std::byte*>(pieces.front().iov_base) + sent;
  pieces.front().iov_len -= sent;
}

// Until the socket takes more. Apart from sending, so that it is known what the link made us wait
// for and what copying, or another process on this processor, did.
Status wait_for_room(int socket, std::chrono::milliseconds timeout,
                     steady_clock::duration& waited) {
  pollfd room{.fd = socket, .events = POLLOUT, .revents = 0};
  const int limit = timeout.count() == 0 ? -1 : static_cast<int>(timeout.count());
  const auto begun = steady_clock::now();
  const int ready = poll(&room, 1, limit);
  waited += steady_clock::now() - begun;
  if (ready == 0)
    return fail(ErrorCode::timed_out, "the peer takes no data: the connection stalled");
  if (ready < 0 && errno != EINTR) return fail_errno("wait for the peer to take data");
  return {};
}

Result<steady_clock::duration> send_pieces(int socket, std::span<iovec> pieces,
                                           std::chrono::milliseconds timeout) {
  steady_clock::duration waited{};
  while (!pieces.empty()) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = std::min<std::size_t>(pieces.size(), IOV_MAX);
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) {
      ICBD_TRY(wait_for_room(socket, timeout, waited));
      continue;
    }
    if (sent < 0) return fail_errno("send to the peer");
    advance(pieces, static_cast<std::size_t>(sent));
  }
  return waited;
}

// sendmsg(2) does not change the bytes; iovec has no const form.
iovec as_iovec(ByteView piece) {
  return {const_cast<std::byte*>(piece.data()), piece.size()};
}

Status set_timeout(int socket, int option, std::chrono::milliseconds timeout) {
  const timeval value{timeout.count() / 1000, (timeout.count() % 1000) * 1000};
  if (setsockopt(socket, SOL_SOCKET, option, &value, sizeof value) != 0)
    return fail_errno("set the timeout of a connection");
  return {};
}

}  // namespace

FrameSocket::FrameSocket(unique_fd socket, TrafficCounters traffic)
    : socket_(std::move(socket)), traffic_(traffic), last_progress_(steady_clock::now()) {}

Status FrameSocket::send(const OutgoingFrame& frame, ByteView payload) {
  return send(frame, std::span<const ByteView>(&payload, 1));
}

Status FrameSocket::send(const OutgoingFrame& frame, std::span<const ByteView> pieces) {
  ICBD_TRY(send_measured(frame, pieces));
  return {};
}

Result<steady_clock::duration> FrameSocket::send_measured(const OutgoingFrame& frame,
                                                          std::span<const ByteView> pieces) {
  std::size_t length = 0;
  for (const ByteView piece : pieces) length += piece.size();
  if (length > limits::frame_payload)
    return fail(ErrorCode::too_large, fmt::format("a frame of {} bytes is over the limit of {}",
                                                  length, limits::frame_payload));
  FrameHeader header{.type = frame.type,
                     .codec = frame.codec,
                     .flags = frame.flags,
                     .plain_length = frame.plain_length,
                     .request_id = frame.request_id};
  const std::lock_guard lock(send_mutex_);
  header.sequence = send_sequence_++;
  const auto encoded = encode_frame_header(header, pieces);
  std::vector<iovec> vectors{as_iovec(encoded)};
  for (const ByteView piece : pieces)
    if (!piece.empty()) vectors.push_back(as_iovec(piece));
  ICBD_ASSIGN(const auto waited, send_pieces(socket_.get(), vectors, send_timeout_));
  traffic_.sent.fetch_add(encoded.size() + length, std::memory_order_relaxed);
  return waited;
}

Status FrameSocket::receive_exactly(std::span<std::byte> buffer, bool at_frame_start) {
  const std::size_t wanted = buffer.size();
  while (!buffer.empty()) {
    const ssize_t got = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN)
      return fail(ErrorCode::timed_out, "the peer sends nothing: the connection stalled");
    if (got < 0) return fail_errno("receive from the peer");
    if (got == 0)
      return fail(ErrorCode::unavailable, at_frame_start && buffer.size() == wanted
                                              ? "the peer closed the connection"
                                              : "the peer closed the connection within a frame");
    traffic_.received.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
    received_unnoted_ += static_cast<std::size_t>(got);
    if (received_unnoted_ >= progress_bytes) note_progress();
    buffer = buffer.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<IncomingFrame> FrameSocket::receive() {
  std::array<std::byte, frame_header_size> encoded{};
  ICBD_TRY(receive_exactly(encoded, true));
  IncomingFrame frame;
  ICBD_ASSIGN(frame.header, decode_frame_header(encoded));
  const PayloadBuffer buffer = buffers_.take(frame.header.payload_length);
  ICBD_TRY(receive_exactly(buffer.bytes, false));
  ICBD_TRY(check_frame(encoded, buffer.bytes));
  if (frame.header.sequence != receive_sequence_)
    return fail(ErrorCode::corrupt,
                fmt::format("frame {} came where frame {} was due: one was lost or repeated",
                            frame.header.sequence, receive_sequence_));
  ++receive_sequence_;
  frame.payload = buffer.bytes;
  frame.buffer = buffer.owner;
  note_progress();
  return frame;
}

void FrameSocket::shut_down() {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

Status FrameSocket::set_receive_timeout(std::chrono::milliseconds timeout) {
  return set_timeout(socket_.get(), SO_RCVTIMEO, timeout);
}

void FrameSocket::set_send_timeout(std::chrono::milliseconds timeout) {
  send_timeout_ = timeout;
}

void FrameSocket::note_progress() {
  received_unnoted_ = 0;
  last_progress_.store(steady_clock::now(), std::memory_order_relaxed);
}

// Each is a hint: a connection of another kind does without.
void FrameSocket::limit_unsent(int bytes) {
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

void FrameSocket::limit_rate(std::uint64_t bytes_per_second) {
  setsockopt(socket_.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_second,
             sizeof bytes_per_second);
}

void FrameSocket::retransmit_early() {
  // include/uapi/linux/tcp.h of Linux 6.15, TCP_RTO_MIN_US; not yet in every distribution's.
  constexpr int option = 45;
  // More than the 40 ms for which a peer may leave a lone segment unacknowledged (TCP_DELACK_MIN).
  constexpr int microseconds = 50'000;
  setsockopt(socket_.get(), IPPROTO_TCP, option, &microseconds, sizeof microseconds);
}

std::optional<LinkSample> FrameSocket::link_sample() const {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return std::nullopt;
  return LinkSample{.round_trip = std::chrono::microseconds(info.tcpi_rtt),
                    .shortest_round_trip = std::chrono::microseconds(info.tcpi_min_rtt),
                    .delivered_per_second = info.tcpi_delivery_rate,
                    .sender_limited = info.tcpi_delivery_rate_app_limited != 0,
                    .acknowledged = info.tcpi_bytes_acked,
                    .sent_again = info.tcpi_bytes_retrans};
}

steady_clock::time_point FrameSocket::last_progress() const {
  return last_progress_.load(std::memory_order_relaxed);
}

}  // namespace icbd::wire
