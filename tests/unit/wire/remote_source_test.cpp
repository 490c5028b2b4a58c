#include "icbd/wire/remote_source.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/wire/server.h"

#include "fake_source.h"
#include "messages.h"
#include "sockets.h"

namespace icbd::wire {
namespace {

using testing::FakeSource;
using namespace std::chrono_literals;

const source::ShapeSink ignore_shape{.begin = [](const source::ShapeBegin&) { return Status(); },
                                     .data = [](ByteView) { return Status(); }};

Status ignore_extent(const source::ExtentData&) {
  return {};
}

// A real server on a real TCP port, and a client of it.
struct RemoteSourceTest : ::testing::Test {
  RemoteSourceTest() { start_server("127.0.0.1:0"); }

  void start_server(const std::string& at) {
    auto listening = listen_on(at);
    ASSERT_TRUE(listening) << listening.error().message();
    address = *bound_address(listening->get());
    server = std::make_unique<Server>(std::move(*listening), fake, make_silent_logger());
  }
  std::unique_ptr<RemoteSource> connect(std::chrono::milliseconds stall_timeout = 10s) {
    return std::make_unique<RemoteSource>(
        tcp_connector(address, 5s),
        RemoteSourceOptions{.node_name = "test", .stall_timeout = stall_timeout},
        make_silent_logger());
  }

  FakeSource fake;
  std::string address;
  std::unique_ptr<Server> server;
};

void expect_right(const source::ExtentData& data) {
  const Bytes content = FakeSource::content(data.extent);
  EXPECT_EQ(data.all_zero, content.empty());
  EXPECT_TRUE(std::ranges::equal(data.data, content));
}

TEST_F(RemoteSourceTest, CatalogComesWholeAndThenOnlyWhenItChanged) {
  const auto remote = connect();
  const auto first = remote->catalog(std::nullopt);
  ASSERT_TRUE(first) << first.error().message();
  ASSERT_TRUE(*first);
  EXPECT_EQ((*first)->versions, fake.snapshot.versions);
  EXPECT_EQ(*remote->catalog((*first)->known()), std::nullopt);
  fake.snapshot.change_number = 10;
  EXPECT_EQ((*remote->catalog((*first)->known()))->change_number, 10u);
}

TEST_F(RemoteSourceTest, CatalogMayBeLargerThanAFrame) {
  const catalog::VersionFacts example = fake.snapshot.versions.front();
  fake.snapshot.versions.clear();
  for (std::uint32_t number = 1; number <= 2'000; ++number) {
    catalog::VersionFacts facts = example;
    facts.number = VersionNumber(number);
    facts.message = std::string(limits::message_length, 'm');
    fake.snapshot.versions.push_back(std::move(facts));
  }
  const auto catalog = connect()->catalog(std::nullopt);
  ASSERT_TRUE(catalog) << catalog.error().message();
  EXPECT_EQ((*catalog)->versions, fake.snapshot.versions);
}

TEST_F(RemoteSourceTest, ShapeComesInOrder) {
  const std::vector<Uuid> offered = {Uuid::random(), Uuid::random()};
  std::optional<Uuid> parent;
  Bytes received;
  const auto remote = connect();
  const Status done =
      remote->shape({.manifest = fake.manifest, .offered = offered},
                    {.begin =
                         [&](const source::ShapeBegin& begin) {
                           EXPECT_TRUE(received.empty());
                           parent = begin.parent;
                           return Status();
                         },
                     .data =
                         [&](ByteView piece) {
                           received.insert(received.end(), piece.begin(), piece.end());
                           return Status();
                         }});
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(parent, offered.front());
  EXPECT_EQ(received, fake.shape_bytes);
}

TEST_F(RemoteSourceTest, AStreamComesInOrderWhileExtentsCome) {
  const auto remote = connect();
  Bytes received;
  const Status done =
      remote->stream({.manifest = fake.manifest, .parent = {}}, [&](ByteView piece) {
        received.insert(received.end(), piece.begin(), piece.end());
        return remote->extents(fake.manifest, FakeSource::chunks(1), source::Priority::bulk,
                               ignore_extent);
      });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(received, fake.shape_bytes);
}

TEST_F(RemoteSourceTest, AStreamThatItsTakerEndsIsNotSentToItsEnd) {
  fake.shape_bytes.resize(200'000'000);
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i + 8 <= fake.shape_bytes.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(&fake.shape_bytes[i], &word, sizeof word);
  }
  const auto remote = connect();
  const Status ended = remote->stream({.manifest = fake.manifest, .parent = {}},
                                      [](ByteView) { return fail(ErrorCode::io, "enough"); });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::io);
  // The other connections know nothing of it, and the next stream makes a new one.
  EXPECT_TRUE(
      remote->extents(fake.manifest, FakeSource::chunks(1), source::Priority::bulk, ignore_extent));
  fake.shape_bytes.resize(1000);
  EXPECT_TRUE(
      remote->stream({.manifest = fake.manifest, .parent = {}}, [](ByteView) { return Status(); }));
  EXPECT_LT(remote->bytes_received(), 100'000'000u);
}

TEST_F(RemoteSourceTest, PagesComeInTheOrderAsked) {
  std::vector<Digest> digests;
  for (const auto& [digest, page] : fake.page_set) digests.push_back(digest);
  std::ranges::reverse(digests);
  const auto pages = connect()->pages(fake.manifest, digests);
  ASSERT_TRUE(pages) << pages.error().message();
  ASSERT_EQ(pages->size(), digests.size());
  for (std::size_t i = 0; i < digests.size(); ++i)
    EXPECT_EQ((*pages)[i], fake.page_set.at(digests[i]));
}

TEST_F(RemoteSourceTest, APageMayBeLargerThanAFrame) {
  Bytes root(limits::frame_payload + 12345, std::byte{3});
  const Digest digest = sha256(root);
  fake.page_set.emplace(digest, root);
  const auto pages = connect()->pages(fake.manifest, std::vector{digest});
  ASSERT_TRUE(pages) << pages.error().message();
  EXPECT_EQ(pages->front(), root);
}

TEST_F(RemoteSourceTest, EveryExtentComesOnceAndRight) {
  const auto remote = connect();
  const auto extents = FakeSource::chunks(200);
  std::set<std::pair<std::uint32_t, std::uint64_t>> seen;
  const Status done = remote->extents(
      fake.manifest, extents, source::Priority::bulk, [&](const source::ExtentData& data) {
        expect_right(data);
        EXPECT_TRUE(seen.emplace(data.extent.file.value(), data.extent.range.offset).second);
        return Status();
      });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(seen.size(), extents.size());
}

struct PackedRemoteSource : RemoteSourceTest, ::testing::WithParamInterface<const char*> {
  std::unique_ptr<RemoteSource> connect_packed() {
    return std::make_unique<RemoteSource>(
        tcp_connector(address, 5s),
        RemoteSourceOptions{.node_name = "test",
                            .packing = codec::parse_setting(GetParam()).value()},
        make_silent_logger());
  }
};

TEST_P(PackedRemoteSource, EverythingComesAsItWasAndShorter) {
  const auto remote = connect_packed();
  const auto extents = FakeSource::chunks(200);
  std::size_t seen = 0;
  std::uint64_t bytes = 0;
  const Status done = remote->extents(fake.manifest, extents, source::Priority::bulk,
                                      [&](const source::ExtentData& data) {
                                        expect_right(data);
                                        ++seen;
                                        bytes += data.data.size();
                                        return Status();
                                      });
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(seen, extents.size());
  EXPECT_LT(remote->bytes_received(), bytes / 2);
  EXPECT_GE(remote->bytes_unpacked(), bytes);
  EXPECT_EQ(remote->packing(), std::string(GetParam()) + ": asked for");
  const auto catalog = remote->catalog(std::nullopt);
  ASSERT_TRUE(catalog) << catalog.error().message();
  EXPECT_EQ((*catalog)->versions, fake.snapshot.versions);
}

INSTANTIATE_TEST_SUITE_P(Codecs, PackedRemoteSource,
                         ::testing::Values("lz4", "snappy", "zlib:1", "zstd:-1", "zstd:3"));

TEST_F(RemoteSourceTest, ZerosDoNotTravel) {
  const auto remote = connect();
  const source::Extent zero{.file = FileIndex(1),
                            .range = {limits::chunk_size, limits::chunk_size}};
  ASSERT_TRUE(
      remote->extents(fake.manifest, std::vector{zero}, source::Priority::demand, ignore_extent));
  EXPECT_LT(remote->bytes_received(), 1000u);
}

TEST_F(RemoteSourceTest, ExtentDataOutlivesTheCallWhileItsOwnerIsHeld) {
  source::ExtentData kept;
  {
    const auto remote = connect();
    ASSERT_TRUE(remote->extents(fake.manifest, FakeSource::chunks(1), source::Priority::demand,
                                [&](const source::ExtentData& data) {
                                  kept = data;
                                  return Status();
                                }));
  }
  expect_right(kept);
}

TEST_F(RemoteSourceTest, BytesOnTheWireAreTheDataAndLittleMore) {
  const auto remote = connect();
  const auto extents = FakeSource::chunks(64);  // file 0: none is zero
  ASSERT_TRUE(remote->extents(fake.manifest, extents, source::Priority::bulk, ignore_extent));
  const std::uint64_t data = 64 * limits::chunk_size;
  EXPECT_GE(remote->bytes_received(), data);
  EXPECT_LT(remote->bytes_received(), data + 4096);
  server->stop();  // it counts a frame only after it has sent it
  EXPECT_EQ(server->counters().bytes_sent, remote->bytes_received());
}

TEST_F(RemoteSourceTest, ErrorsOfTheMasterComeThroughAndDoNoHarm) {
  const auto remote = connect();
  const Digest unknown = sha256(as_bytes("unknown"));
  const Status shape = remote->shape({.manifest = unknown, .offered = {}}, ignore_shape);
  ASSERT_FALSE(shape);
  EXPECT_EQ(shape.error().code(), ErrorCode::not_found);
  EXPECT_EQ(shape.error().message(), "no such version");
  EXPECT_FALSE(
      remote->extents(unknown, FakeSource::chunks(1), source::Priority::demand, ignore_extent));
  EXPECT_FALSE(remote->pages(unknown, std::vector{unknown}));
  EXPECT_TRUE(remote->catalog(std::nullopt));
  EXPECT_TRUE(remote->reachable());
}

TEST_F(RemoteSourceTest, ACallerThatGivesUpLeavesTheConnectionUsable) {
  const auto remote = connect();
  const Status done = remote->extents(
      fake.manifest, FakeSource::chunks(100), source::Priority::bulk,
      [](const source::ExtentData&) { return fail(ErrorCode::no_space, "the disk is full"); });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::no_space);
  EXPECT_TRUE(remote->extents(fake.manifest, FakeSource::chunks(100), source::Priority::bulk,
                              ignore_extent));
}

TEST_F(RemoteSourceTest, EightThreadsMixTheirCalls) {
  const auto remote = connect();
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned round = 0; round < 10; ++round) {
        const auto priority = thread % 2 == 0 ? source::Priority::demand : source::Priority::bulk;
        EXPECT_TRUE(remote->extents(fake.manifest, FakeSource::chunks(10 + thread), priority,
                                    [](const source::ExtentData& data) {
                                      expect_right(data);
                                      return Status();
                                    }));
        EXPECT_TRUE(remote->catalog(source::KnownCatalog{.session = {}, .change_number = round}));
        EXPECT_TRUE(remote->pages(fake.manifest, std::vector{fake.page_set.begin()->first}));
        EXPECT_TRUE(remote->shape({.manifest = fake.manifest, .offered = {}}, ignore_shape));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RemoteSourceTest, ASlowCallerGetsEverythingAndHoldsUpNoOtherCall) {
  const auto remote = connect();
  std::mutex mutex;
  std::condition_variable changed;
  bool blocked = false;
  bool go_on = false;
  std::size_t count = 0;
  const auto extents = FakeSource::chunks(64);  // 8 MiB: fits its queue
  std::thread slow([&] {
    EXPECT_TRUE(remote->extents(fake.manifest, extents, source::Priority::bulk,
                                [&](const source::ExtentData& data) {
                                  std::unique_lock lock(mutex);
                                  blocked = true;
                                  changed.notify_all();
                                  changed.wait(lock, [&] { return go_on; });
                                  expect_right(data);
                                  ++count;
                                  return Status();
                                }));
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return blocked; });
  }
  EXPECT_TRUE(remote->extents(fake.manifest, extents, source::Priority::bulk, ignore_extent));
  {
    const std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }
  slow.join();
  EXPECT_EQ(count, extents.size());
}

TEST_F(RemoteSourceTest, ASlowCallerWithMoreThanItsQueueHoldsIsNotTakenForASilentMaster) {
  const auto remote = connect(500ms);
  const auto extents = FakeSource::chunks(2 * reply_queue_bytes / limits::chunk_size);
  bool first = true;
  const Status done = remote->extents(fake.manifest, extents, source::Priority::bulk,
                                      [&](const source::ExtentData&) {
                                        if (std::exchange(first, false))
                                          std::this_thread::sleep_for(900ms);  // over the timeout
                                        return Status();
                                      });
  EXPECT_TRUE(done) << done.error().message();
}

TEST_F(RemoteSourceTest, ABulkCallDoesNotHoldUpADemandCall) {
  const auto remote = connect();
  bool demand_done = false;
  const auto extents = FakeSource::chunks(2 * reply_queue_bytes / limits::chunk_size);
  ASSERT_TRUE(remote->extents(fake.manifest, extents, source::Priority::bulk,
                              [&](const source::ExtentData&) {
                                // Bulk stands still here until a demand call has gone through.
                                if (std::exchange(demand_done, true)) return Status();
                                return remote->extents(fake.manifest, FakeSource::chunks(1),
                                                       source::Priority::demand, ignore_extent);
                              }));
  EXPECT_TRUE(demand_done);
}

TEST_F(RemoteSourceTest, ConnectsAgainAfterTheMasterWasRestarted) {
  const auto remote = connect();
  ASSERT_TRUE(remote->catalog(std::nullopt));
  EXPECT_TRUE(remote->reachable());
  server->stop();
  EXPECT_FALSE(remote->catalog(std::nullopt));
  const auto refused = remote->catalog(std::nullopt);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
  EXPECT_FALSE(remote->reachable());
  start_server(address);
  const auto catalog = remote->catalog(std::nullopt);
  EXPECT_TRUE(catalog) << catalog.error().message();
  EXPECT_TRUE(remote->reachable());
}

TEST_F(RemoteSourceTest, StopEndsCallsUnderWay) {
  const auto remote = connect();
  fake.hold();
  std::vector<std::thread> callers;
  callers.emplace_back(
      [&] { EXPECT_EQ(remote->catalog(std::nullopt).error().code(), ErrorCode::cancelled); });
  callers.emplace_back([&] {
    EXPECT_EQ(
        remote->extents(fake.manifest, FakeSource::chunks(1), source::Priority::bulk, ignore_extent)
            .error()
            .code(),
        ErrorCode::cancelled);
  });
  fake.wait_for_held(2);
  remote->stop();
  for (std::thread& caller : callers) caller.join();
  fake.release();
  EXPECT_EQ(remote->catalog(std::nullopt).error().code(), ErrorCode::cancelled);
}

TEST_F(RemoteSourceTest, ASilentMasterIsGivenUpAfterTheStallTimeout) {
  const auto remote = connect(100ms);
  fake.hold();
  const auto catalog = remote->catalog(std::nullopt);
  ASSERT_FALSE(catalog);
  EXPECT_EQ(catalog.error().code(), ErrorCode::timed_out);
  EXPECT_FALSE(remote->reachable());
  fake.release();
  EXPECT_TRUE(remote->catalog(std::nullopt)) << "the next call connects anew";
}

// It is alive, for TCP; but at this pace nothing will ever be here.
TEST_F(RemoteSourceTest, AMasterThatGivesAByteNowAndThenIsGivenUpToo) {
  auto [ours, theirs] = testing::socket_pair();
  RemoteSource remote([&]() -> Result<unique_fd> { return std::move(ours); },
                      {.node_name = "test", .stall_timeout = 300ms}, make_silent_logger());
  std::jthread master([socket = std::move(theirs)](const std::stop_token& stop) mutable {
    testing::Traffic traffic;
    const int fd = socket.get();
    FrameSocket frames(std::move(socket), traffic.counters());
    if (!frames.receive()) return;
    static_cast<void>(frames.send({.type = FrameType::hello_reply},
                                  encode(Hello{.protocol = protocol_version, .node_name = {}})));
    const Bytes reply = testing::raw_frame(
        {.type = FrameType::catalog_reply, .request_id = 1, .sequence = 1}, Bytes(4000));
    for (std::size_t i = 0; i < reply.size() && !stop.stop_requested(); ++i) {
      if (!write_all(fd, ByteView(reply).subspan(i, 1))) return;
      std::this_thread::sleep_for(5ms);  // the pace
    }
  });
  const auto catalog = remote.catalog(std::nullopt);
  ASSERT_FALSE(catalog);
  EXPECT_EQ(catalog.error().code(), ErrorCode::timed_out) << catalog.error().message();
}

TEST_F(RemoteSourceTest, ManyCallersShareOneFailedAttemptToConnect) {
  server->stop();
  std::atomic<int> attempts = 0;
  std::atomic<int> waiting = 0;
  RemoteSource remote(
      [&]() -> Result<unique_fd> {
        ++attempts;
        // Until everyone has come. A caller that was counted but has not yet begun to wait makes
        // an attempt of its own, so only the order of magnitude is certain.
        while (waiting < 8) std::this_thread::yield();
        std::this_thread::sleep_for(50ms);
        return fail(ErrorCode::unavailable, "nobody there");
      },
      {.node_name = "test"}, make_silent_logger());
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i)
    callers.emplace_back([&] {
      ++waiting;
      EXPECT_EQ(remote.catalog(std::nullopt).error().code(), ErrorCode::unavailable);
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_LT(attempts, 8);
}

// A peer that the test plays itself, frame by frame.
struct MisbehavingMaster : ::testing::Test {
  // `play` gets the master's end after hello, on a thread of its own.
  void expect_failure(ErrorCode code, std::function<void(FrameSocket&, int fd)> play) {
    auto [ours, theirs] = testing::socket_pair();
    const int fd = theirs.get();
    testing::Traffic traffic;
    FrameSocket frames(std::move(theirs), traffic.counters());
    std::thread master([&] {
      const auto hello = frames.receive();
      ASSERT_TRUE(hello);
      ASSERT_TRUE(frames.send(
          {.type = FrameType::hello_reply, .request_id = hello->header.request_id},
          encode(Hello{.protocol = protocol_version, .role = NodeRole::master, .node_name = "m"})));
      const auto request = frames.receive();
      ASSERT_TRUE(request);
      request_id = request->header.request_id;
      play(frames, fd);
    });
    RemoteSource remote([&socket = ours]() -> Result<unique_fd> { return std::move(socket); },
                        {.node_name = "test", .stall_timeout = 5s}, make_silent_logger());
    const Status done = remote.extents(sha256(as_bytes("m")), FakeSource::chunks(2),
                                       source::Priority::demand, ignore_extent);
    master.join();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), code) << done.error().message();
    EXPECT_FALSE(remote.reachable());
  }
  FrameHeader reply_header(FrameType type) const {
    return {.type = type, .request_id = request_id, .sequence = 1};
  }

  std::uint32_t request_id = 0;
};

TEST_F(MisbehavingMaster, BadChecksum) {
  expect_failure(ErrorCode::unavailable, [&](FrameSocket&, int fd) {
    Bytes bytes = testing::raw_frame(reply_header(FrameType::extents_reply), Bytes(50));
    bytes.back() ^= std::byte{1};
    ASSERT_TRUE(write_all(fd, bytes));
  });
}

TEST_F(MisbehavingMaster, WrongSequence) {
  expect_failure(ErrorCode::unavailable, [&](FrameSocket&, int fd) {
    FrameHeader header = reply_header(FrameType::extents_end);
    header.sequence = 5;
    ASSERT_TRUE(write_all(fd, testing::raw_frame(header, {})));
  });
}

TEST_F(MisbehavingMaster, AnswerToNobodysRequest) {
  expect_failure(ErrorCode::unavailable, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::extents_end, .request_id = request_id + 1}));
  });
}

TEST_F(MisbehavingMaster, AnswerOfAnotherType) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::pages_reply, .request_id = request_id}));
  });
}

TEST_F(MisbehavingMaster, ExtentThatWasNotAskedFor) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    const source::ExtentData data{
        .extent = {FileIndex(9), {0, 100}}, .owner = {}, .data = {}, .all_zero = true};
    ASSERT_TRUE(frames.send({.type = FrameType::extents_reply, .request_id = request_id},
                            encode_extents_table(std::span(&data, 1))));
  });
}

TEST_F(MisbehavingMaster, CompressedExtentsThatWereNotAskedFor) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::encoded_reply, .request_id = request_id},
                            encode_encoded_table({})));
  });
}

TEST_F(MisbehavingMaster, MissingExtents) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::extents_end, .request_id = request_id},
                            encode_extents_end("")));
  });
}

TEST_F(MisbehavingMaster, AnEndThatSaysNonsense) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::extents_end, .request_id = request_id},
                            testing::copy_of("nonsense")));
  });
}

TEST_F(MisbehavingMaster, APackedFrameThatDoesNotUnpack) {
  expect_failure(ErrorCode::corrupt, [&](FrameSocket& frames, int) {
    ASSERT_TRUE(frames.send({.type = FrameType::extents_reply,
                             .request_id = request_id,
                             .codec = static_cast<std::uint8_t>(codec::Algorithm::zstd),
                             .plain_length = 1000},
                            testing::copy_of("not zstd at all")));
  });
}

TEST_F(MisbehavingMaster, ClosesWithinAFrame) {
  expect_failure(ErrorCode::unavailable, [&](FrameSocket& frames, int fd) {
    const Bytes bytes = testing::raw_frame(reply_header(FrameType::extents_reply), Bytes(50));
    ASSERT_TRUE(write_all(fd, ByteView(bytes).first(40)));
    frames.shut_down();
  });
}

TEST(RemoteSourceHello, AnotherProtocolVersionIsRefusedNamingBoth) {
  auto [ours, theirs] = testing::socket_pair();
  testing::Traffic traffic;
  FrameSocket frames(std::move(theirs), traffic.counters());
  std::thread master([&] {
    const auto hello = frames.receive();
    ASSERT_TRUE(hello);
    ASSERT_TRUE(
        frames.send({.type = FrameType::hello_reply, .request_id = hello->header.request_id},
                    encode(Hello{.protocol = 77, .role = NodeRole::master, .node_name = "m"})));
  });
  RemoteSource remote([&socket = ours]() -> Result<unique_fd> { return std::move(socket); },
                      {.node_name = "test"}, make_silent_logger());
  const auto catalog = remote.catalog(std::nullopt);
  master.join();
  ASSERT_FALSE(catalog);
  EXPECT_EQ(catalog.error().code(), ErrorCode::unsupported);
  EXPECT_NE(catalog.error().message().find("version 77"), std::string::npos);
  EXPECT_NE(catalog.error().message().find(fmt::format("version {}", protocol_version)),
            std::string::npos);
}

}  // namespace
}  // namespace icbd::wire
