// Each fault of the proxy does what its name says, at the byte that was asked for, and nothing
// else.
#include "harness/fault_proxy.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <thread>

#include "icbd/base/bytes.h"
#include "icbd/base/unique_fd.h"

namespace icbd::harness {
namespace {

using namespace std::chrono_literals;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// As src/wire makes them, as far as the proxy looks.
Bytes frame(char content, std::uint32_t length) {
  Bytes bytes(32 + length, std::byte(content));
  std::memcpy(&bytes[8], &length, sizeof length);
  return bytes;
}

// A server that gives everybody the same three frames and then waits for the end.
class FaultProxyTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& piece : {frame('a', 100), frame('b', 50'000), frame('c', 0)})
      stream_.insert(stream_.end(), piece.begin(), piece.end());
    listening_.reset(socket(AF_INET, SOCK_STREAM, 0));
    auto address = loopback(0);
    socklen_t size = sizeof address;
    ASSERT_EQ(bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(listen(listening_.get(), 10), 0);
    getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    server_ = std::jthread([this] { serve(); });
    auto proxy = FaultProxy::start("127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
    ASSERT_TRUE(proxy) << proxy.error().message();
    proxy_ = std::move(*proxy);
  }
  void TearDown() override {
    proxy_.reset();
    shutdown(listening_.get(), SHUT_RDWR);
  }

  void serve() {
    std::vector<std::jthread> served;
    while (true) {
      unique_fd peer(accept(listening_.get(), nullptr, nullptr));
      if (!peer) return;
      served.emplace_back([this, peer = std::move(peer)] {
        std::size_t sent = 0;
        while (sent < stream_.size()) {
          const auto n = send(peer.get(), &stream_[sent], stream_.size() - sent, MSG_NOSIGNAL);
          if (n <= 0) return;
          sent += static_cast<std::size_t>(n);
        }
        shutdown(peer.get(), SHUT_WR);
        std::array<char, 100> ignored;
        while (recv(peer.get(), ignored.data(), ignored.size(), 0) > 0) continue;
      });
    }
  }

  unique_fd connected() const {
    const std::string& text = proxy_->address();
    unique_fd fd(socket(AF_INET, SOCK_STREAM, 0));
    const auto address =
        loopback(static_cast<std::uint16_t>(std::stoul(text.substr(text.rfind(':') + 1))));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  struct Got {
    Bytes bytes;
    int error = 0;  // 0: end of stream
  };
  static Got read_all(const unique_fd& fd) {
    Got got;
    std::array<std::byte, 4096> piece;
    while (true) {
      const ssize_t n = recv(fd.get(), piece.data(), piece.size(), 0);
      if (n < 0) got.error = errno;
      if (n <= 0) return got;
      got.bytes.insert(got.bytes.end(), piece.begin(), piece.begin() + n);
    }
  }
  Got read_through(const Fault& fault) {
    proxy_->inject(fault);
    Got got = read_all(connected());
    EXPECT_EQ(proxy_->struck(), ++faults_);
    return got;
  }
  // The stream with `length` bytes at `at` replaced.
  Bytes stream_with(std::size_t at, std::size_t length, const Bytes& by) const {
    Bytes changed(stream_.begin(), stream_.begin() + static_cast<std::ptrdiff_t>(at));
    changed.insert(changed.end(), by.begin(), by.end());
    changed.insert(changed.end(), stream_.begin() + static_cast<std::ptrdiff_t>(at + length),
                   stream_.end());
    return changed;
  }

  Bytes stream_;
  unique_fd listening_;
  std::jthread server_;
  std::unique_ptr<FaultProxy> proxy_;
  std::uint64_t faults_ = 0;
};

TEST_F(FaultProxyTest, PassesWhatItIsNotToldToChange) {
  for (const std::size_t slices : {0, 1, 700}) {
    proxy_->set_slices(slices);
    const Got got = read_all(connected());
    EXPECT_EQ(got.error, 0);
    EXPECT_EQ(got.bytes, stream_);
  }
  EXPECT_EQ(proxy_->bytes(Direction::to_client), 3 * stream_.size());
  EXPECT_EQ(proxy_->connections(), 3u);
  while (proxy_->ended_connections() < 3) std::this_thread::yield();
}

TEST_F(FaultProxyTest, ResetEndsWithAnErrorAtTheByte) {
  const Got got = read_through({.kind = FaultKind::reset, .at = 12'345});
  EXPECT_EQ(got.error, ECONNRESET);
  EXPECT_LE(got.bytes.size(), 12'345u);  // what had arrived may be thrown away by the reset
  EXPECT_EQ(proxy_->bytes(Direction::to_client), 12'345u);
}

TEST_F(FaultProxyTest, TruncateEndsTheStreamAtTheByte) {
  const Got got = read_through({.kind = FaultKind::truncate, .at = 12'345});
  EXPECT_EQ(got.error, 0);
  EXPECT_EQ(got.bytes, Bytes(stream_.begin(), stream_.begin() + 12'345));
}

TEST_F(FaultProxyTest, FlipBitChangesOneBitOfTheByte) {
  const Got got = read_through({.kind = FaultKind::flip_bit, .at = 12'345});
  EXPECT_EQ(got.bytes, stream_with(12'345, 1, {stream_[12'345] ^ std::byte{1}}));
}

TEST_F(FaultProxyTest, BytesAreRepeatedAndLost) {
  EXPECT_EQ(read_through({.kind = FaultKind::repeat_bytes, .at = 140, .length = 20}).bytes,
            stream_with(140, 0, Bytes(stream_.begin() + 140, stream_.begin() + 160)));
  EXPECT_EQ(read_through({.kind = FaultKind::lose_bytes, .at = 7, .length = 40'000}).bytes,
            stream_with(7, 40'000, {}));
}

TEST_F(FaultProxyTest, FramesAreRepeatedLostAndSwappedWhole) {
  const Bytes a = frame('a', 100), b = frame('b', 50'000), c = frame('c', 0);
  EXPECT_EQ(read_through({.kind = FaultKind::lose_frame, .at = 1}).bytes,
            stream_with(132, b.size(), {}));
  EXPECT_EQ(read_through({.kind = FaultKind::repeat_frame, .at = 1}).bytes, stream_with(132, 0, b));
  Bytes swapped = b;
  swapped.insert(swapped.end(), a.begin(), a.end());
  swapped.insert(swapped.end(), c.begin(), c.end());
  EXPECT_EQ(read_through({.kind = FaultKind::swap_frames}).bytes, swapped);
}

TEST_F(FaultProxyTest, AFrameThatNothingFollowsIsNotSwapped) {
  proxy_->inject({.kind = FaultKind::swap_frames, .at = stream_.size() - 32});
  EXPECT_EQ(read_all(connected()).bytes, stream_);
  EXPECT_EQ(proxy_->struck(), 0u);
}

TEST_F(FaultProxyTest, ABlackHoleAcceptsAndGivesNothingUntilItIsGone) {
  proxy_->set_black_hole(true);
  const unique_fd peer = connected();
  pollfd silent{peer.get(), POLLIN, 0};
  EXPECT_EQ(poll(&silent, 1, 50), 0);
  proxy_->set_black_hole(false);
  EXPECT_EQ(read_all(peer).bytes, stream_);
}

TEST_F(FaultProxyTest, ResetAllEndsAlsoWhatIsInABlackHole) {
  proxy_->set_black_hole(true);
  const unique_fd peer = connected();
  while (proxy_->connections() == 0) std::this_thread::yield();
  const auto end = std::chrono::steady_clock::now() + 10s;
  pollfd closed{peer.get(), POLLIN, 0};
  do proxy_->reset_all();  // accepted is not connected yet
  while (poll(&closed, 1, 10) == 0 && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(read_all(peer).error, ECONNRESET);
}

TEST_F(FaultProxyTest, DelayAndRateTakeTheirTime) {
  const auto begin = std::chrono::steady_clock::now();
  proxy_->set_rate(500'000);
  EXPECT_EQ(read_all(connected()).bytes, stream_);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 90ms);
}

TEST_F(FaultProxyTest, AServerThatIsAwayIsAReset) {
  shutdown(listening_.get(), SHUT_RDWR);
  server_.join();
  listening_.reset();
  const Got got = read_all(connected());
  EXPECT_EQ(got.error, ECONNRESET);
}

}  // namespace
}  // namespace icbd::harness
