// Connected sockets for tests of the wire, and raw frames on them.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <utility>

#include "icbd/base/file.h"
#include "icbd/base/unique_fd.h"

#include "frame_socket.h"

namespace icbd::wire::testing {

inline std::pair<unique_fd, unique_fd> socket_pair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {unique_fd(fds[0]), unique_fd(fds[1])};
}

// Counters for a FrameSocket that nobody reads.
struct Traffic {
  std::atomic<std::uint64_t> sent = 0;
  std::atomic<std::uint64_t> received = 0;
  TrafficCounters counters() { return {sent, received}; }
};

// A frame as bytes, for tests that send wrong ones.
inline Bytes raw_frame(const FrameHeader& header, ByteView payload) {
  const auto encoded = encode_frame_header(header, payload);
  Bytes bytes(encoded.begin(), encoded.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

inline Bytes copy_of(std::string_view text) {
  const ByteView view = as_bytes(text);
  return {view.begin(), view.end()};
}

}  // namespace icbd::wire::testing
