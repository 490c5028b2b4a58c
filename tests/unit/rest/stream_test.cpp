// Responses that are streamed: a writer on a thread of its own, a peer that takes or leaves.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "icbd/base/file.h"
#include "icbd/rest/http.h"

#include "harness/loopback.h"

namespace icbd::rest {
namespace {

using harness::connect_to;
using harness::Listener;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr std::size_t mebibyte = 1024 * 1024;
constexpr auto patience = 20s;

// What a test waits for, and gives up waiting for.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

struct StreamTest : ::testing::Test {
  StreamTest() : port(listener.port) {
    server.emplace(
        std::move(listener.socket),
        [this](const Request& request) -> Result<Response> {
          if (request.path.front() == "plain") return Response{.body = "a document"};
          return Response{.stream = writers[request.path.front()]};
        },
        make_silent_logger(), HttpServerOptions{.threads = 1, .streams = 2});
  }
  ~StreamTest() override { server.reset(); }

  // Hands over pieces of a MiB until it cannot.
  BodyWriter endless() {
    return [this](const BodySink& sink) -> Status {
      const Bytes piece(mebibyte, std::byte{'x'});
      Status sent;
      while (sent) {
        sent = sink(piece);
        if (sent) written += piece.size();
      }
      ended.open();
      return sent;
    };
  }
  static Status nothing_more() { return {}; }

  HttpClient client() const { return *HttpClient::make(fmt::format("http://127.0.0.1:{}", port)); }
  Result<std::string> download(const std::string& path) const {
    std::string all;
    ICBD_TRY(client().download(path, patience, [&](ByteView piece) -> Status {
      all += as_text(piece);
      return {};
    }));
    return all;
  }
  unique_fd ask(const std::string& path, const char* version = "1.1") const {
    unique_fd socket = connect_to(port);
    EXPECT_TRUE(write_all(
        socket.get(), as_bytes(fmt::format("GET {} HTTP/{}\r\nHost: x\r\n\r\n", path, version))));
    return socket;
  }
  // Everything until the server closes; how that went is in errno.
  static std::string read_to_end(int socket) {
    std::string answer;
    char buffer[4096];
    ssize_t got;
    while ((got = read(socket, buffer, sizeof buffer)) > 0)
      answer.append(buffer, static_cast<std::size_t>(got));
    if (got == 0) errno = 0;
    return answer;
  }

  Listener listener;
  std::uint16_t port;
  std::map<std::string, BodyWriter> writers;  // by path
  std::atomic<std::size_t> written = 0;
  Gate ended;
  std::optional<HttpServer> server;
};

TEST_F(StreamTest, WhatIsWrittenArrives) {
  writers["letters"] = [](const BodySink& sink) -> Status {
    for (char letter = 'a'; letter <= 'z'; ++letter)
      ICBD_TRY(sink(as_bytes(std::string(50'000, letter))));
    return {};
  };
  const auto all = download("/letters");
  ASSERT_TRUE(all) << all.error().message();
  EXPECT_EQ(all->size(), 26 * 50'000u);
  EXPECT_EQ(all->front(), 'a');
  EXPECT_EQ(all->back(), 'z');
}

TEST_F(StreamTest, ItIsChunkedAndAnEmptyPieceIsNotTheEnd) {
  writers["two"] = [](const BodySink& sink) -> Status {
    ICBD_TRY(sink(as_bytes("one")));
    ICBD_TRY(sink({}));
    return sink(as_bytes("two"));
  };
  const unique_fd socket = ask("/two");
  const std::string answer = read_to_end(socket.get());
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
}

TEST_F(StreamTest, AnOldClientReadsUntilTheConnectionCloses) {
  writers["one"] = [](const BodySink& sink) { return sink(as_bytes("one")); };
  const unique_fd socket = ask("/one", "1.0");
  EXPECT_THAT(read_to_end(socket.get()), EndsWith("Connection: close\r\n\r\none"));
  EXPECT_EQ(errno, 0);
}

TEST_F(StreamTest, NothingAtAllIsAStreamToo) {
  writers["empty"] = [](const BodySink&) { return nothing_more(); };
  EXPECT_EQ(download("/empty").value(), "");
}

TEST_F(StreamTest, AnErrorBeforeTheFirstPieceIsAnswered) {
  writers["refused"] = [](const BodySink&) { return fail(ErrorCode::not_found, "it is gone"); };
  const auto refused = download("/refused");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::not_found);
  EXPECT_EQ(refused.error().message(), "it is gone");
  EXPECT_THAT(read_to_end(ask("/refused").get()), StartsWith("HTTP/1.1 404"));
}

TEST_F(StreamTest, AnErrorInTheMiddleDoesNotLookLikeTheEnd) {
  writers["broken"] = [](const BodySink& sink) -> Status {
    ICBD_TRY(sink(as_bytes("half")));
    return fail(ErrorCode::io, "the disk is broken");
  };
  writers["throws"] = [](const BodySink& sink) -> Status {
    ICBD_TRY(sink(as_bytes("half")));
    throw std::runtime_error("oh");
  };
  for (const char* path : {"/broken", "/throws"}) {
    const auto cut = download(path);
    ASSERT_FALSE(cut) << path;
    EXPECT_EQ(cut.error().code(), ErrorCode::unavailable) << cut.error().message();
    EXPECT_THAT(read_to_end(ask(path).get()), EndsWith("4\r\nhalf\r\n"));
  }
  const unique_fd old = ask("/broken", "1.0");
  static_cast<void>(read_to_end(old.get()));
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(StreamTest, AReaderThatLeavesEndsIt) {
  writers["endless"] = endless();
  unique_fd socket = ask("/endless");
  char first;
  ASSERT_EQ(read(socket.get(), &first, 1), 1);
  socket.reset();
  EXPECT_TRUE(ended.wait());
}

TEST_F(StreamTest, ASinkThatFailsEndsTheDownload) {
  writers["endless"] = endless();
  const Status full = client().download("/endless", patience,
                                        [](ByteView) { return fail(ErrorCode::no_space, "full"); });
  EXPECT_EQ(full.error().code(), ErrorCode::no_space);
  EXPECT_TRUE(ended.wait());
}

// What the peer does not take stays unwritten, but for what the two sockets hold.
TEST_F(StreamTest, AReaderThatWaitsIsWaitedForWithoutAnythingPilingUp) {
  writers["endless"] = endless();
  const unique_fd socket = ask("/endless");
  pollfd readable{.fd = socket.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&readable, 1, 20'000), 1);
  // Other requests are answered meanwhile, though the server has one thread.
  std::size_t before = 0;
  do {
    before = written;
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(client().get("/plain"));
  } while (written != before);
  EXPECT_LT(written, 32 * mebibyte);
  server->stop();
  EXPECT_TRUE(ended.wait()) << "the server that stops ends it";
}

TEST_F(StreamTest, MoreThanAFewAreRefused) {
  writers["endless"] = endless();
  unique_fd first = ask("/endless");
  const unique_fd second = ask("/endless");
  for (const int socket : {first.get(), second.get()}) {
    pollfd readable{.fd = socket, .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&readable, 1, 20'000), 1);
  }
  EXPECT_THAT(read_to_end(ask("/endless").get()), StartsWith("HTTP/1.1 503"));
  EXPECT_EQ(download("/endless").error().code(), ErrorCode::busy);

  first.reset();
  ASSERT_TRUE(ended.wait());
  // Its thread has something left to do before the place is free.
  writers["short"] = [](const BodySink& sink) { return sink(as_bytes("there")); };
  Result<std::string> third = std::string();
  do {
    third = download("/short");
  } while (!third && third.error().code() == ErrorCode::busy);
  EXPECT_EQ(third.value(), "there");
}

TEST_F(StreamTest, ADownloadOfWhatIsNoStreamGivesTheDocument) {
  EXPECT_EQ(download("/plain").value(), "\"a document\"\n");
}

TEST(StalledStream, AReaderThatTakesNothingForTooLongIsCutOff) {
  Listener listener;
  const std::uint16_t port = listener.port;
  Gate ended;
  Status outcome;
  HttpServer server(std::move(listener.socket),
                    [&](const Request&) -> Result<Response> {
                      return Response{.stream = [&](const BodySink& sink) {
                        const Bytes piece(mebibyte, std::byte{'x'});
                        while (outcome) outcome = sink(piece);
                        ended.open();
                        return outcome;
                      }};
                    },
                    make_silent_logger(), {.threads = 1, .stream_stall = 300ms});
  const unique_fd socket = connect_to(port);
  ASSERT_TRUE(write_all(socket.get(), as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n")));
  ASSERT_TRUE(ended.wait());
  EXPECT_EQ(outcome.error().code(), ErrorCode::timed_out);
}

TEST(StalledStream, AServerThatSendsNothingForTooLongIsGivenUp) {
  const Listener silent;
  const Status outcome =
      HttpClient::make(silent.url())->download("/", 200ms, [](ByteView) -> Status { return {}; });
  EXPECT_EQ(outcome.error().code(), ErrorCode::timed_out);
}

}  // namespace
}  // namespace icbd::rest
