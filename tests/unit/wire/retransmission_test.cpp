// Where somebody waits for each frame, both ends send what was lost again early.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <set>

#include "icbd/base/unique_fd.h"
#include "icbd/wire/remote_source.h"
#include "icbd/wire/server.h"

#include "fake_source.h"

namespace icbd::wire {
namespace {

using testing::FakeSource;
using namespace std::chrono_literals;

// The option TCP_RTO_MIN_US of a connection; none if it is no TCP, or before Linux 6.15.
std::optional<int> shortest_retransmission(int socket) {
  constexpr int option = 45;  // include/uapi/linux/tcp.h; not yet in every distribution's
  int microseconds = 0;
  socklen_t length = sizeof microseconds;
  if (getsockopt(socket, IPPROTO_TCP, option, &microseconds, &length) != 0) return std::nullopt;
  return microseconds;
}

// Both ends are this process's. The kernel rounds to its ticks.
std::size_t ends_that_retransmit_early() {
  std::set<std::filesystem::path> sockets;  // a descriptor may be one of several
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const auto shortest = shortest_retransmission(std::stoi(entry.path().filename()));
    if (shortest && *shortest < 100'000) sockets.insert(read_symlink(entry.path()));
  }
  return sockets.size();
}

TEST(Retransmission, IsEarlyWhereSomebodyWaits) {
  const unique_fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!shortest_retransmission(tcp.get())) GTEST_SKIP() << "needs Linux 6.15";
  FakeSource source;
  auto listening = listen_on("127.0.0.1:0");
  ASSERT_TRUE(listening) << listening.error().message();
  const std::string address = *bound_address(listening->get());
  const Server server(std::move(*listening), source, make_silent_logger());
  RemoteSource remote(tcp_connector(address, 5s), {.node_name = "test"}, make_silent_logger());
  const auto ask = [&](source::Priority priority) {
    return remote.extents(source.manifest, FakeSource::chunks(1), priority,
                          [](const source::ExtentData&) { return Status(); });
  };

  ASSERT_TRUE(ask(source::Priority::bulk));
  EXPECT_EQ(ends_that_retransmit_early(), 0u);
  ASSERT_TRUE(remote.catalog(std::nullopt));
  EXPECT_EQ(ends_that_retransmit_early(), 2u);
  ASSERT_TRUE(ask(source::Priority::demand));
  EXPECT_EQ(ends_that_retransmit_early(), 4u);
}

}  // namespace
}  // namespace icbd::wire
