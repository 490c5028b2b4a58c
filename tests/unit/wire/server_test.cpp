#include "icbd/wire/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "icbd/wire/remote_source.h"

#include "extent_engine.h"
#include "extent_stream.h"
#include "fake_source.h"
#include "messages.h"
#include "serve_connection.h"
#include "sockets.h"

namespace icbd::wire {
namespace {

using testing::FakeSource;

// serve_connection() at one end of a socket pair, the test at the other.
struct ServeConnection : ::testing::Test {
  ServeConnection() {
    auto [ours, theirs] = testing::socket_pair();
    fd = ours.get();
    server_fd = theirs.get();
    client = std::make_unique<FrameSocket>(std::move(ours), traffic.counters());
    session = std::thread([this, socket = std::move(theirs)]() mutable {
      serve_connection(std::move(socket), source, engine, counters, make_silent_logger());
    });
  }
  ~ServeConnection() override {
    client->shut_down();
    session.join();
  }
  void greet() {
    ASSERT_TRUE(client->send({.type = FrameType::hello},
                             encode(Hello{.protocol = protocol_version, .node_name = "test"})));
    const auto reply = client->receive();
    ASSERT_TRUE(reply) << reply.error().message();
    ASSERT_EQ(reply->header.type, FrameType::hello_reply);
  }
  void expect_closed() {
    const auto frame = client->receive();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code(), ErrorCode::unavailable) << frame.error().message();
  }

  FakeSource source;
  ExtentEngine engine{source, {}};
  ServerCounters counters;
  testing::Traffic traffic;
  int fd = -1;
  int server_fd = -1;
  std::unique_ptr<FrameSocket> client;
  std::thread session;
};

TEST_F(ServeConnection, HelloIsAnsweredWithVersionRoleAndName) {
  ASSERT_TRUE(client->send({.type = FrameType::hello},
                           encode(Hello{.protocol = protocol_version, .node_name = "test"})));
  const auto reply = client->receive();
  ASSERT_TRUE(reply) << reply.error().message();
  const auto hello = decode_hello(reply->payload);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->protocol, protocol_version);
  EXPECT_EQ(hello->role, NodeRole::master);
  EXPECT_FALSE(hello->node_name.empty());
}

TEST_F(ServeConnection, APeerOfAnotherVersionIsToldOursAndLeft) {
  ASSERT_TRUE(
      client->send({.type = FrameType::hello}, encode(Hello{.protocol = 77, .node_name = {}})));
  const auto reply = client->receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(decode_hello(reply->payload)->protocol, protocol_version);
  expect_closed();
}

TEST_F(ServeConnection, NothingIsServedBeforeHello) {
  ASSERT_TRUE(client->send({.type = FrameType::catalog}, encode(CatalogRequest{})));
  expect_closed();
}

TEST_F(ServeConnection, GarbageEndsTheConnection) {
  greet();
  ASSERT_TRUE(write_all(fd, Bytes(64, std::byte{0x55})));
  expect_closed();
}

TEST_F(ServeConnection, AFrameThatIsNoRequestEndsTheConnection) {
  greet();
  ASSERT_TRUE(client->send({.type = FrameType::extents_end}));
  expect_closed();
}

TEST_F(ServeConnection, AMalformedRequestEndsTheConnection) {
  greet();
  ASSERT_TRUE(client->send({.type = FrameType::extents}, testing::copy_of("nonsense")));
  expect_closed();
}

TEST_F(ServeConnection, ARepeatedRequestFrameEndsTheConnection) {
  greet();
  const Bytes request =
      testing::raw_frame({.type = FrameType::catalog, .request_id = 1, .sequence = 1},
                         encode(CatalogRequest{.known = source.snapshot.known()}));
  ASSERT_TRUE(write_all(fd, request));
  ASSERT_TRUE(client->receive());
  ASSERT_TRUE(write_all(fd, request));
  expect_closed();
}

TEST_F(ServeConnection, RequestsAreAnsweredInOrder) {
  greet();
  for (std::uint32_t id = 1; id <= 3; ++id)
    ASSERT_TRUE(client->send({.type = FrameType::catalog, .request_id = id},
                             encode(CatalogRequest{.known = source.snapshot.known()})));
  for (std::uint32_t id = 1; id <= 3; ++id) EXPECT_EQ(client->receive()->header.request_id, id);
  EXPECT_EQ(counters.requests, 3u);
}

// The peer does not say that it could unpack anything.
TEST_F(ServeConnection, ExtentsComeInFramesOfAboutOneMebibyte) {
  greet();
  const ExtentsRequest request{.manifest = source.manifest,
                               .priority = icbd::source::Priority::bulk,
                               .extents = FakeSource::chunks(32)};  // 4 MiB
  ASSERT_TRUE(client->send({.type = FrameType::extents, .request_id = 1}, encode(request)));
  std::vector<std::size_t> counts;
  while (true) {
    const auto frame = client->receive();
    ASSERT_TRUE(frame) << frame.error().message();
    if (frame->header.type == FrameType::extents_end) break;
    counts.push_back(decode_extents_reply(frame->payload, frame->buffer)->size());
  }
  EXPECT_EQ(counts, (std::vector<std::size_t>{8, 8, 8, 8}));
}

// What is left of a request after its failure is not sent; the next one is.
TEST_F(ServeConnection, ARequestThatFailsDoesNotDisturbTheNext) {
  greet();
  ExtentsRequest request{.manifest = sha256(as_bytes("another")),
                         .priority = icbd::source::Priority::bulk,
                         .extents = FakeSource::chunks(32)};
  ASSERT_TRUE(client->send({.type = FrameType::extents, .request_id = 1}, encode(request)));
  request.manifest = source.manifest;
  request.extents.resize(1);
  ASSERT_TRUE(client->send({.type = FrameType::extents, .request_id = 2}, encode(request)));
  const auto refusal = client->receive();
  ASSERT_TRUE(refusal) << refusal.error().message();
  EXPECT_EQ(refusal->header.type, FrameType::error);
  EXPECT_EQ(refusal->header.request_id, 1u);
  for (const FrameType type : {FrameType::extents_reply, FrameType::extents_end}) {
    const auto frame = client->receive();
    ASSERT_TRUE(frame) << frame.error().message();
    EXPECT_EQ(frame->header.type, type);
    EXPECT_EQ(frame->header.request_id, 2u);
  }
}

TEST_F(ServeConnection, APeerThatTakesNothingHoldsAFewMebibytes) {
  constexpr std::uint64_t mebibyte = 1024 * 1024;
  constexpr std::uint64_t socket_buffer = 2 * mebibyte;
  greet();
  const int size = socket_buffer / 4;  // the kernel takes it twice
  ASSERT_EQ(setsockopt(server_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
  const ExtentsRequest request{.manifest = source.manifest,
                               .priority = icbd::source::Priority::bulk,
                               .extents = FakeSource::chunks(256)};  // 32 MiB
  ASSERT_TRUE(client->send({.type = FrameType::extents, .request_id = 1}, encode(request)));
  ASSERT_TRUE(client->receive());
  // The end of what is prepared shows when nothing more is, although the peer has taken nothing.
  std::uint64_t before = 0;
  for (std::uint64_t now = 1; now != before;) {
    before = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    now = engine.counters().units_prepared;
  }
  EXPECT_LE(engine.counters().units_prepared, (engine.window_bytes() + socket_buffer) / mebibyte);
  std::size_t extents = 8;
  while (extents < request.extents.size()) {
    const auto frame = client->receive();
    ASSERT_TRUE(frame) << frame.error().message();
    extents += decode_extents_reply(frame->payload, frame->buffer)->size();
  }
}

TEST_F(ServeConnection, RequestsForNothingAreNoMoreThanThePeerTakesAnswers) {
  greet();
  client->set_send_timeout(std::chrono::seconds(1));
  const Bytes request = encode(ExtentsRequest{
      .manifest = source.manifest, .priority = icbd::source::Priority::bulk, .extents = {}});
  constexpr std::uint32_t plenty = 500'000;
  std::uint32_t sent = 0;
  while (sent < plenty &&
         client->send({.type = FrameType::extents, .request_id = sent + 1}, request))
    ++sent;
  EXPECT_GT(sent, engine.window_bytes() / 2048);
  EXPECT_LT(sent, plenty) << "it is not made to wait";
}

TEST_F(ServeConnection, ANameThatWouldForgeALogIsRefused) {
  ASSERT_TRUE(client->send({.type = FrameType::hello},
                           encode(Hello{.protocol = protocol_version, .node_name = "a\nb"})));
  expect_closed();
}

struct ServerTest : ::testing::Test {
  void start(std::size_t max_connections) {
    auto listening = listen_on("127.0.0.1:0");
    ASSERT_TRUE(listening);
    address = *bound_address(listening->get());
    server = std::make_unique<Server>(std::move(*listening), source, make_silent_logger(),
                                      max_connections);
  }
  unique_fd connect() { return *tcp_connector(address, std::chrono::seconds(5))(); }

  FakeSource source;
  std::string address;
  std::unique_ptr<Server> server;
};

TEST_F(ServerTest, AConnectionOverTheLimitIsToldSo) {
  start(1);
  testing::Traffic traffic;
  FrameSocket first(connect(), traffic.counters());
  ASSERT_TRUE(first.send({.type = FrameType::hello},
                         encode(Hello{.protocol = protocol_version, .node_name = {}})));
  ASSERT_TRUE(first.receive());
  FrameSocket second(connect(), traffic.counters());
  const auto refusal = second.receive();
  ASSERT_TRUE(refusal) << refusal.error().message();
  EXPECT_EQ(refusal->header.type, FrameType::error);
  EXPECT_EQ(decode_error(refusal->payload).code(), ErrorCode::busy);
}

TEST_F(ServerTest, StopEndsIdleAndSilentConnections) {
  start(10);
  testing::Traffic traffic;
  FrameSocket silent(connect(), traffic.counters());
  FrameSocket idle(connect(), traffic.counters());
  ASSERT_TRUE(idle.send({.type = FrameType::hello},
                        encode(Hello{.protocol = protocol_version, .node_name = {}})));
  ASSERT_TRUE(idle.receive());
  server->stop();
  EXPECT_FALSE(idle.receive());
  EXPECT_FALSE(silent.receive());
  EXPECT_EQ(server->counters().connections, 0u);
}

TEST_F(ServerTest, APortScannerDoesNotDisturbIt) {
  start(100);
  for (int i = 0; i < 20; ++i) connect();
  RemoteSource remote(tcp_connector(address, std::chrono::seconds(5)), {.node_name = "test"},
                      make_silent_logger());
  EXPECT_TRUE(remote.catalog(std::nullopt));
}

}  // namespace
}  // namespace icbd::wire
