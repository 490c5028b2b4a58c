#include "icbd/rest/http.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "harness/loopback.h"

namespace icbd::rest {
namespace {

using harness::connect_to;
using harness::Listener;
using nlohmann::json;
using namespace std::chrono_literals;

// Repeats the request; some paths do something else.
Result<Response> echo(const Request& request) {
  if (request.path == std::vector<std::string>{"missing"})
    return fail(ErrorCode::not_found, "it is not there");
  if (request.path == std::vector<std::string>{"throws"}) throw std::runtime_error("oh");
  if (request.path == std::vector<std::string>{"bytes"}) return Response{.body = "\xff\xfe"};
  if (request.path == std::vector<std::string>{"accepted"}) return Response{202, {{"job", "1"}}};
  return Response{
      .body = {{"method", request.method}, {"path", request.path}, {"body", request.body}}};
}

struct HttpTest : ::testing::Test {
  HttpTest()
      : port(listener.port), server(std::move(listener.socket), echo, make_silent_logger()) {}

  HttpClient client() { return *HttpClient::make(fmt::format("http://127.0.0.1:{}", port)); }
  unique_fd connect() { return connect_to(port); }
  // Sends bytes as they are and returns everything until the server closes.
  std::string exchange(std::string_view bytes) {
    const unique_fd socket = connect();
    // The server may refuse, and close, before it has taken everything.
    static_cast<void>(write_all(socket.get(), as_bytes(bytes)));
    std::string answer;
    char buffer[4096];
    ssize_t got;
    while ((got = read(socket.get(), buffer, sizeof buffer)) > 0)
      answer.append(buffer, static_cast<std::size_t>(got));
    return answer;
  }

  Listener listener;
  std::uint16_t port;
  HttpServer server;
};

TEST_F(HttpTest, GetAndPostReachTheHandler) {
  const auto got = client().get("/api/images/win11");
  ASSERT_TRUE(got) << got.error().message();
  EXPECT_EQ((*got)["method"], "GET");
  EXPECT_EQ((*got)["path"], (json{"api", "images", "win11"}));
  EXPECT_TRUE((*got)["body"].is_null());
  const auto posted = client().post("/x", {{"message", "größer"}});
  ASSERT_TRUE(posted) << posted.error().message();
  EXPECT_EQ((*posted)["method"], "POST");
  EXPECT_EQ((*posted)["body"]["message"], "größer");
}

TEST_F(HttpTest, EverySuccessIsOne) {
  EXPECT_EQ((*client().post("/accepted", {}))["job"], "1");
}

TEST_F(HttpTest, ErrorsCrossTheWire) {
  const auto missing = client().get("/missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  EXPECT_EQ(missing.error().message(), "it is not there");
  EXPECT_EQ(client().get("/throws").error().code(), ErrorCode::internal);
}

TEST_F(HttpTest, TextThatIsNotUtf8DoesNotStopAnAnswer) {
  EXPECT_TRUE(client().get("/bytes"));
}

TEST_F(HttpTest, OneConnectionTakesSeveralRequests) {
  const std::string answer = exchange(
      "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find(R"(["a"])"), std::string::npos) << answer;
  EXPECT_NE(answer.find(R"(["b"])"), std::string::npos) << answer;
}

TEST_F(HttpTest, HeadIsAnsweredWithoutABody) {
  const std::string answer = exchange("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST_F(HttpTest, WhatIsNotHttpIsRefused) {
  EXPECT_TRUE(exchange("this is not HTTP\r\n\r\n").starts_with("HTTP/1.1 400"));
}

TEST_F(HttpTest, AMalformedTargetOrBodyIsRefused) {
  EXPECT_TRUE(
      exchange("GET /a%zz HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(exchange("POST /a HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{")
                  .starts_with("HTTP/1.1 400"));
}

TEST_F(HttpTest, ALargeBodyIsRefusedBeforeItIsTaken) {
  const std::string request =
      fmt::format("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", limits::rest_body + 1);
  EXPECT_TRUE(exchange(request).starts_with("HTTP/1.1 413"));
}

TEST_F(HttpTest, AnEndlessHeaderIsRefused) {
  EXPECT_TRUE(
      exchange("GET / HTTP/1.1\r\nX: " + std::string(60'000, 'x')).starts_with("HTTP/1.1 431"));
}

TEST_F(HttpTest, StopEndsOpenConnections) {
  const unique_fd idle = connect();
  server.stop();
  char byte;
  EXPECT_LE(read(idle.get(), &byte, 1), 0);
}

TEST(HttpClient, AServerThatIsNotThereIsUnavailableAndNamed) {
  std::uint16_t port = 0;
  {
    const Listener listener;
    port = listener.port;
  }
  const auto client = HttpClient::make(fmt::format("http://127.0.0.1:{}", port));
  const auto answer = client->get("/");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::unavailable);
  EXPECT_NE(answer.error().message().find(std::to_string(port)), std::string::npos);
}

TEST(HttpClient, AServerThatSaysNothingTimesOut) {
  const Listener listener;  // accepts in the kernel, and nobody answers
  auto client = *HttpClient::make(fmt::format("http://127.0.0.1:{}", listener.port));
  client.set_timeout(50ms);
  const auto answer = client.get("/");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::timed_out) << answer.error().message();
}

TEST(HttpServer, APeerThatDripsItsRequestIsCutOff) {
  Listener listener;
  HttpServer server(std::move(listener.socket), echo, make_silent_logger(),
                    {.threads = 1, .timeout = 200ms});
  const unique_fd socket = connect_to(listener.port);
  const auto started = std::chrono::steady_clock::now();
  // Never silent for as long as the timeout, but never done either.
  while (write_all(socket.get(), as_bytes("x"))) {
    char byte;
    if (recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 0) break;
    ASSERT_LT(std::chrono::steady_clock::now() - started, 20s) << "the server is too patient";
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - started, 200ms);
}

TEST(HttpServer, OneSlowHandlerDoesNotHoldUpTheOtherThread) {
  Listener listener;
  std::mutex mutex;
  std::condition_variable changed;
  bool entered = false;
  bool go_on = false;
  HttpServer server(
      std::move(listener.socket),
      [&](const Request& request) -> Result<Response> {
        if (request.path.front() != "slow") return Response{.body = "quick"};
        std::unique_lock lock(mutex);
        entered = true;
        changed.notify_all();
        changed.wait(lock, [&] { return go_on; });
        return Response{.body = "slow"};
      },
      make_silent_logger());
  const auto client = *HttpClient::make(fmt::format("http://127.0.0.1:{}", listener.port));
  std::thread slow([&] { EXPECT_EQ(*client.get("/slow"), "slow"); });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return entered; });
  }
  EXPECT_EQ(*client.get("/quick"), "quick");
  {
    const std::lock_guard lock(mutex);
    go_on = true;
    changed.notify_all();
  }
  slow.join();
}

}  // namespace
}  // namespace icbd::rest
