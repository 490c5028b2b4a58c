#include "stream_threads.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <span>
#include <string_view>

namespace icbd::rest {
namespace {

constexpr std::string_view head_of_every =
    "HTTP/1.1 200 OK\r\nServer: icbd\r\nContent-Type: application/octet-stream\r\n"
    "Cache-Control: no-store\r\nConnection: close\r\n";

Status make_blocking(int socket, std::chrono::milliseconds stall) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) != 0)
    return fail_errno("let a connection block");
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(stall);
  const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(stall - seconds);
  const timeval timeout{.tv_sec = seconds.count(), .tv_usec = rest.count()};
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0)
    return fail_errno("limit how long a connection blocks");
  return {};
}

iovec part_of(std::string_view text) {
  // sendmsg(2) only reads.
  return {.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
}

// Leaves the parts that were not sent.
std::span<iovec> skip_sent(std::span<iovec> parts, std::size_t sent) {
  while (!parts.empty() && sent >= parts.front().iov_len) {
    sent -= parts.front().iov_len;
    parts = parts.subspan(1);
  }
  if (!parts.empty()) {
    parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + sent;
    parts.front().iov_len -= sent;
  }
  return parts;
}

Status send_all(int socket, std::span<iovec> parts) {
  while (!(parts = skip_sent(parts, 0)).empty()) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return fail(ErrorCode::timed_out, "the peer has taken nothing for too long");
    if (sent < 0) return fail_errno("send to the peer");
    parts = skip_sent(parts, static_cast<std::size_t>(sent));
  }
  return {};
}

Status send_text(int socket, std::string_view text) {
  std::array parts{part_of(text)};
  return send_all(socket, parts);
}

// The body as HTTP carries it. The head goes with the first piece: until then, an error can still
// be said.
class Body {
 public:
  Body(int socket, bool chunked) : socket_(socket), chunked_(chunked) {}

  bool begun() const { return begun_; }

  Status send(ByteView piece) {
    ICBD_TRY(begin());
    if (piece.empty()) return {};  // an empty chunk is the end
    const std::string length = chunked_ ? fmt::format("{:x}\r\n", piece.size()) : "";
    std::array parts{part_of(length), part_of(as_text(piece)), part_of(chunked_ ? "\r\n" : "")};
    return send_all(socket_, parts);
  }

  Status finish() {
    ICBD_TRY(begin());
    if (!chunked_) return {};
    return send_text(socket_, "0\r\n\r\n");
  }

 private:
  Status begin() {
    if (begun_) return {};
    begun_ = true;
    return send_text(socket_, std::string(head_of_every) +
                                  (chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
  }

  const int socket_;
  const bool chunked_;
  bool begun_ = false;
};

Status write_body(const BodyWriter& writer, Body& body) {
  try {
    ICBD_TRY(writer([&body](ByteView piece) { return body.send(piece); }));
    return body.finish();
  } catch (const std::exception& exception) {
    return fail(ErrorCode::internal, fmt::format("the stream failed: {}", exception.what()));
  }
}

void reset_at_close(int socket) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

// What waits for a signal is another thread of the daemon.
void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void answer(StreamJob& job, std::chrono::milliseconds stall) {
  const int socket = job.socket.get();
  Body body(socket, job.chunked);
  Status done = make_blocking(socket, stall);
  if (done) done = write_body(job.writer, body);
  if (done) return;
  job.failed(done.error());
  if (!body.begun())
    static_cast<void>(send_text(socket, job.refuse(done.error())));
  else if (!job.chunked)
    reset_at_close(socket);
}

}  // namespace

std::list<StreamThreads::Stream> StreamThreads::take_ended() {
  std::list<Stream> ended;
  for (auto stream = streams_.begin(); stream != streams_.end();) {
    const auto next = std::next(stream);
    if (stream->ended) ended.splice(ended.end(), streams_, stream);
    stream = next;
  }
  return ended;
}

bool StreamThreads::reserve() {
  std::list<Stream> ended;
  bool free = false;
  {
    const std::lock_guard lock(mutex_);
    ended = take_ended();
    free = !stopped_ && streams_.size() + reserved_ < most_;
    if (free) ++reserved_;
  }
  for (Stream& stream : ended) stream.thread.join();
  return free;
}

void StreamThreads::start(StreamJob job) {
  const std::lock_guard lock(mutex_);
  --reserved_;
  if (stopped_) return;
  Stream& stream = streams_.emplace_back();
  stream.job = std::move(job);
  try {
    stream.thread = std::thread([this, &stream] { run(stream); });
  } catch (const std::exception& exception) {
    stream.job.failed(
        Error(ErrorCode::busy, fmt::format("start a thread for a stream: {}", exception.what())));
    streams_.pop_back();
  }
}

void StreamThreads::run(Stream& stream) {
  block_all_signals();
  answer(stream.job, stall_);
  // What the writer holds (a version that is open) goes before the stream counts as ended.
  stream.job.writer = nullptr;
  const std::lock_guard lock(mutex_);
  stream.job.socket.reset();
  stream.ended = true;
}

void StreamThreads::stop() {
  std::list<Stream> last;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const Stream& stream : streams_)
      if (stream.job.socket) ::shutdown(stream.job.socket.get(), SHUT_RDWR);
    last.splice(last.end(), streams_);
  }
  for (Stream& stream : last) stream.thread.join();
}

}  // namespace icbd::rest
