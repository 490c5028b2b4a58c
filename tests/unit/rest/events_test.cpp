// Announcements: the hub, the parser, and both over a real connection.
#include "icbd/rest/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/rest/http.h"

#include "harness/loopback.h"

namespace icbd::rest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

Event numbered(int number) {
  return {.name = "catalog", .data = {{"change", number}}};
}

TEST(EventParser, TakesAStreamApartHoweverItIsCut) {
  const std::string stream =
      ":\n\nevent: catalog\ndata: {\"change\":1}\n\n:\n\nevent: catalog\r\ndata: "
      "{\"change\":2}\r\n\r\n";
  for (std::size_t length = 1; length <= stream.size(); ++length) {
    EventParser parser;
    std::vector<int> changes;
    for (std::size_t at = 0; at < stream.size(); at += length)
      ASSERT_TRUE(parser.feed(std::string_view(stream).substr(at, length), [&](const Event& event) {
        EXPECT_EQ(event.name, "catalog");
        changes.push_back(event.data.at("change").get<int>());
      }));
    EXPECT_THAT(changes, ElementsAre(1, 2)) << "pieces of " << length;
  }
}

TEST(EventParser, LeavesOutWhatIsNoEventAndEndsAtAnEndlessLine) {
  EventParser parser;
  int events = 0;
  const auto count = [&](const Event&) { ++events; };
  EXPECT_TRUE(parser.feed("data: {}\n\nevent: x\ndata: {broken\n\nnonsense\n\n\n", count));
  EXPECT_EQ(events, 0);
  EXPECT_FALSE(parser.feed(std::string(65 * 1024, 'x'), count));
}

TEST(EventHub, TellsANewListenerTheLastAnnouncement) {
  EventHub hub;
  std::vector<std::string> first, second;
  const auto id = hub.add([&](auto text) { first.push_back(*text); });
  EXPECT_THAT(first, IsEmpty());
  hub.announce(numbered(1));
  hub.add([&](auto text) { second.push_back(*text); });
  hub.remove(id);
  hub.announce(numbered(2));
  const std::string one = "event: catalog\ndata: {\"change\":1}\n\n";
  const std::string two = "event: catalog\ndata: {\"change\":2}\n\n";
  EXPECT_THAT(first, ElementsAre(one));
  EXPECT_THAT(second, ElementsAre(one, two));
  hub.clear();
  EXPECT_EQ(hub.listeners(), 0u);
}

// A server whose every path is a stream of events, and one that follows it.
class EventsTest : public ::testing::Test {
 protected:
  EventsTest() {
    harness::Listener listener;
    port_ = listener.port;
    url_ = listener.url();
    server_ = std::make_unique<HttpServer>(
        std::move(listener.socket),
        [](const Request& request) -> Result<Response> {
          if (request.path.front() == "plain") return Response{.body = "no events"};
          return Response{.events = true};
        },
        make_silent_logger(), HttpServerOptions{.events = &hub_, .keepalive = 20ms});
  }

  // Follows until `last` was told; the result is follow()'s.
  std::jthread follow_in_background(int last) {
    return std::jthread([this, last](std::stop_token stop) {
      const auto client = HttpClient::make(url_).value();
      std::stop_source enough;
      const std::stop_callback both(stop, [&] { enough.request_stop(); });
      const Status ended =
          client.follow("/events", enough.get_token(), 10s, [&](const Event& event) {
            const std::lock_guard lock(mutex_);
            told_ = event.data.at("change").get<int>();
            ++events_;
            if (told_ == last) enough.request_stop();
            changed_.notify_all();
          });
      const std::lock_guard lock(mutex_);
      ended_ = ended.error();
      changed_.notify_all();
    });
  }
  template <typename Condition>
  ::testing::AssertionResult wait_for(Condition condition) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, 10s, condition)) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "it has not come to that in 10 s";
  }

  EventHub hub_;
  std::uint16_t port_ = 0;
  std::string url_;
  std::unique_ptr<HttpServer> server_;
  std::mutex mutex_;  // guards what is below
  std::condition_variable changed_;
  int told_ = 0, events_ = 0;
  std::optional<Error> ended_;
};

TEST_F(EventsTest, AFollowerIsToldWhatIsAnnounced) {
  hub_.announce(numbered(1));
  const auto follower = follow_in_background(2);
  ASSERT_TRUE(wait_for([&] { return told_ == 1; })) << "a new listener hears where things stand";
  hub_.announce(numbered(2));
  ASSERT_TRUE(wait_for([&] { return ended_.has_value(); }));
  EXPECT_EQ(told_, 2);
  EXPECT_EQ(ended_->code(), ErrorCode::cancelled);
}

TEST_F(EventsTest, TheLastAnnouncementIsNeverLost) {
  constexpr int last = 5000;
  const auto follower = follow_in_background(last);
  while (hub_.listeners() == 0) std::this_thread::yield();  // or the test's timeout
  for (int i = 1; i <= last; ++i) hub_.announce(numbered(i));
  ASSERT_TRUE(wait_for([&] { return ended_.has_value(); }));
  EXPECT_EQ(told_, last);
  EXPECT_LE(events_, last);
}

TEST_F(EventsTest, AFollowerNoticesThatTheServerHasGone) {
  hub_.announce(numbered(1));
  const auto follower = follow_in_background(2);
  ASSERT_TRUE(wait_for([&] { return told_ == 1; }));
  server_->stop();
  ASSERT_TRUE(wait_for([&] { return ended_.has_value(); }));
  EXPECT_EQ(ended_->code(), ErrorCode::unavailable);
}

TEST_F(EventsTest, TheServerForgetsAFollowerThatHasGone) {
  hub_.announce(numbered(1));
  auto follower = follow_in_background(2);
  ASSERT_TRUE(wait_for([&] { return told_ == 1; }));
  EXPECT_EQ(hub_.listeners(), 1u);
  follower.request_stop();
  follower.join();
  while (hub_.listeners() != 0) std::this_thread::yield();  // or the test's timeout
}

TEST(Events, SilenceEndsIt) {
  const harness::Listener listener;
  std::jthread server([&] {
    const unique_fd connection(::accept(listener.socket.get(), nullptr, nullptr));
    ASSERT_TRUE(write_all(connection.get(),
                          as_bytes("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                                   "event: catalog\ndata: {\"change\":1}\n\n")));
    // Until the client has had enough, and closes.
    char buffer[1024];
    while (::read(connection.get(), buffer, sizeof buffer) > 0) continue;
  });
  int told = 0;
  const Status ended =
      HttpClient::make(listener.url())->follow("/events", {}, 50ms, [&](const Event&) { ++told; });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::timed_out);
  EXPECT_EQ(told, 1);
}

TEST_F(EventsTest, AnAnswerWithoutEventsIsAnError) {
  const auto client = HttpClient::make(url_).value();
  const Status ended = client.follow("/plain", {}, 1s, [](const Event&) {});
  ASSERT_FALSE(ended);
}

TEST_F(EventsTest, ManyFollowersAreTold) {
  constexpr int followers = 200;
  std::vector<unique_fd> sockets;
  const std::string_view request = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
  for (int i = 0; i < followers; ++i) {
    unique_fd socket = harness::connect_to(port_);
    ASSERT_EQ(write(socket.get(), request.data(), request.size()),
              static_cast<ssize_t>(request.size()));
    sockets.push_back(std::move(socket));
  }
  while (hub_.listeners() != followers) std::this_thread::yield();  // or the test's timeout
  hub_.announce(numbered(7));
  for (const unique_fd& socket : sockets) {
    std::string text;
    char buffer[1024];
    while (text.find("\"change\":7") == std::string::npos) {
      const ssize_t got = read(socket.get(), buffer, sizeof buffer);
      ASSERT_GT(got, 0);
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }
}

}  // namespace
}  // namespace icbd::rest
