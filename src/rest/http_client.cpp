// The only translation unit with Beast's client side.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stop_token>

#include "icbd/rest/http.h"

#include "target.h"

namespace icbd::rest {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using nlohmann::json;

constexpr std::uint64_t response_bytes = 16 * 1024 * 1024;
constexpr int http_version = 11;
constexpr std::size_t download_piece = 256 * 1024;
// A peer whose machine is gone is noticed after half a minute, however long it may be silent.
constexpr int probe_after_seconds = 10;
constexpr int probe_interval_seconds = 5;
constexpr int probes_without_answer = 4;

// One request and its response within one deadline. Operations are asynchronous, because only
// those can be given up.
class Exchange {
 public:
  explicit Exchange(std::chrono::milliseconds timeout, std::stop_token stop = {})
      : deadline_(std::chrono::steady_clock::now() + timeout),
        stop_(std::move(stop)),
        on_stop_(stop_, [this] { context_.stop(); }) {}

  // A new deadline for what is begun from now on.
  void extend(std::chrono::milliseconds timeout) {
    deadline_ = std::chrono::steady_clock::now() + timeout;
  }

  beast::error_code connect(const std::string& host, const std::string& port) {
    tcp::resolver resolver(context_);
    tcp::resolver::results_type targets;
    if (const auto error = run([&](auto done) {
          resolver.async_resolve(host, port, [&targets, done](beast::error_code ec, auto results) {
            targets = std::move(results);
            done(ec);
          });
        }))
      return error;
    return run([&](auto done) {
      stream_.async_connect(targets, [done](beast::error_code ec, const auto&) { done(ec); });
    });
  }

  // Only an unusual system cannot; then the deadline does.
  void notice_dead_peer() {
    const auto set = [fd = stream_.socket().native_handle()](int level, int name, int value) {
      static_cast<void>(::setsockopt(fd, level, name, &value, sizeof value));
    };
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, probe_after_seconds);
    set(IPPROTO_TCP, TCP_KEEPINTVL, probe_interval_seconds);
    set(IPPROTO_TCP, TCP_KEEPCNT, probes_without_answer);
  }

  beast::error_code send(const http::request<http::string_body>& request) {
    return run([&](auto done) {
      http::async_write(stream_, request, [done](beast::error_code ec, std::size_t) { done(ec); });
    });
  }

  beast::error_code receive(http::response_parser<http::string_body>& parser) {
    return run([&](auto done) {
      http::async_read(stream_, buffer_, parser,
                       [done](beast::error_code ec, std::size_t) { done(ec); });
    });
  }

  beast::error_code receive_header(http::response_parser<http::buffer_body>& parser) {
    return run([&](auto done) {
      http::async_read_header(stream_, buffer_, parser,
                              [done](beast::error_code ec, std::size_t) { done(ec); });
    });
  }

  // The next bytes of a body; with an error, what came before it.
  std::pair<beast::error_code, std::string_view> receive_some(
      http::response_parser<http::buffer_body>& parser, std::span<char> buffer) {
    auto& body = parser.get().body();
    body.data = buffer.data();
    body.size = buffer.size();
    beast::error_code error = run([&](auto done) {
      http::async_read_some(stream_, buffer_, parser,
                            [done](beast::error_code ec, std::size_t) { done(ec); });
    });
    if (error == http::error::need_buffer) error = {};
    if (!error && parser.is_done()) error = http::error::end_of_stream;
    return {error, std::string_view(buffer.data(), buffer.size() - body.size)};
  }

 private:
  // Runs what `start` begins until it is done, the deadline has passed or it is to stop.
  template <typename Start>
  beast::error_code run(Start start) {
    std::optional<beast::error_code> outcome;
    start([&outcome](beast::error_code error) { outcome = error; });
    context_.restart();
    // Asked after restart(), which forgets a stop that came before it.
    if (!stop_.stop_requested()) context_.run_until(deadline_);
    if (outcome) return *outcome;
    beast::error_code ignored;
    static_cast<void>(stream_.socket().close(ignored));
    return asio::error::timed_out;
  }

  std::chrono::steady_clock::time_point deadline_;
  std::stop_token stop_;
  asio::io_context context_;
  beast::tcp_stream stream_{context_};
  beast::flat_buffer buffer_;
  std::stop_callback<std::function<void()>> on_stop_;  // last: uses the context
};

http::request<http::string_body> make_request(const std::string& authority,
                                              const std::string& method, const std::string& path,
                                              const json* body) {
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(path);
  request.version(http_version);
  request.set(http::field::host, authority);
  request.set(http::field::user_agent, "icbd");
  request.keep_alive(false);
  if (body != nullptr) {
    request.set(http::field::content_type, "application/json");
    request.body() = body->dump(-1, ' ', false, json::error_handler_t::replace);
  }
  request.prepare_payload();
  return request;
}

Result<json> decode_response(const http::response<http::string_body>& raw,
                             const std::string& server) {
  json body = json::parse(raw.body(), nullptr, false);
  const unsigned status = raw.result_int();
  if (status >= 200 && status < 300) {
    if (body.is_discarded())
      return fail(ErrorCode::corrupt,
                  fmt::format("{} answered with something that is not JSON", server));
    return body;
  }
  if (body.is_object() && body.contains("error") && body["error"].is_object()) {
    const json& error = body["error"];
    return fail(parse_error_code(error.value("code", "")).value_or(ErrorCode::io),
                error.value("message", fmt::format("{} answered {}", server, status)));
  }
  return fail(ErrorCode::io, fmt::format("{} answered {} {}: it does not look like an icbd server",
                                         server, status, std::string(raw.reason())));
}

}  // namespace

Result<HttpClient> HttpClient::make(std::string_view base_url) {
  ICBD_ASSIGN(BaseUrl url, parse_base_url(base_url));
  return HttpClient(std::move(url.host), std::move(url.port));
}

Result<json> HttpClient::get(const std::string& path) const {
  return call("GET", path, nullptr);
}

Result<json> HttpClient::post(const std::string& path, const json& body) const {
  return call("POST", path, &body);
}

Result<json> HttpClient::put(const std::string& path, const json& body) const {
  return call("PUT", path, &body);
}

Result<json> HttpClient::remove(const std::string& path) const {
  return call("DELETE", path, nullptr);
}

Status HttpClient::follow(const std::string& path, std::stop_token stop,
                          std::chrono::milliseconds silence,
                          const std::function<void(const Event&)>& received) const {
  const std::string server = fmt::format("http://{}", authority());
  const auto ended = [&](std::string_view what, beast::error_code error) -> Status {
    if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopping");
    return fail(error == asio::error::timed_out ? ErrorCode::timed_out : ErrorCode::unavailable,
                fmt::format("{} {}: {}", what, server, error.message()));
  };
  try {
    Exchange exchange(timeout_, stop);
    if (const auto error = exchange.connect(host_, port_)) return ended("cannot reach", error);
    if (const auto error = exchange.send(make_request(authority(), "GET", path, nullptr)))
      return ended("lost the connection to", error);
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    if (const auto error = exchange.receive_header(parser)) return ended("no answer from", error);
    if (parser.get().result_int() != 200)
      return fail(ErrorCode::unsupported, fmt::format("{} announces nothing: it answered {}",
                                                      server, parser.get().result_int()));
    EventParser events;
    std::array<char, 4096> buffer{};
    while (true) {
      exchange.extend(silence);
      const auto [error, piece] = exchange.receive_some(parser, buffer);
      if (!events.feed(piece, received))
        return fail(ErrorCode::corrupt, fmt::format("{} sends no events", server));
      if (error) return ended("no more events from", error);
    }
  } catch (const std::exception& exception) {
    return fail(ErrorCode::internal,
                fmt::format("the events of {} failed: {}", server, exception.what()));
  }
}

Status HttpClient::download(const std::string& path, std::chrono::milliseconds silence,
                            const BodySink& sink) const {
  const std::string server = fmt::format("http://{}", authority());
  const auto ended = [&](std::string_view what, beast::error_code error) {
    return fail(error == asio::error::timed_out ? ErrorCode::timed_out : ErrorCode::unavailable,
                fmt::format("{} {}: {}", what, server, error.message()));
  };
  try {
    Exchange exchange(timeout_);
    if (const auto error = exchange.connect(host_, port_)) return ended("cannot reach", error);
    exchange.notice_dead_peer();
    if (const auto error = exchange.send(make_request(authority(), "GET", path, nullptr)))
      return ended("lost the connection to", error);
    exchange.extend(silence);  // the first byte may be as long in coming as any other
    http::response_parser<http::buffer_body> parser;
    // Beast takes "none" for 0 where a length is said.
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    if (const auto error = exchange.receive_header(parser)) return ended("no answer from", error);
    const bool success = parser.get().result() == http::status::ok;
    http::response<http::string_body> refused(http::response_header<>(parser.get().base()));
    std::vector<char> buffer(download_piece);
    while (!parser.is_done()) {
      exchange.extend(silence);
      const auto [error, piece] = exchange.receive_some(parser, buffer);
      if (success && !piece.empty())
        ICBD_TRY(sink(as_bytes(piece)));
      else if (refused.body().size() < response_bytes)
        refused.body() += piece;
      if (error && error != http::error::end_of_stream)
        return ended("the stream stops before its end, from", error);
    }
    if (success) return {};
    auto decoded = decode_response(refused, server);
    if (!decoded) return std::unexpected(std::move(decoded).error());
    return fail(ErrorCode::io, fmt::format("{} answered with no stream", server));
  } catch (const std::exception& exception) {
    return fail(ErrorCode::internal,
                fmt::format("the download from {} failed: {}", server, exception.what()));
  }
}

std::string HttpClient::authority() const {
  return host_.contains(':') ? fmt::format("[{}]:{}", host_, port_)
                             : fmt::format("{}:{}", host_, port_);
}

Result<json> HttpClient::call(const std::string& method, const std::string& path,
                              const json* body) const {
  const std::string server = fmt::format("http://{}", authority());
  const auto failed = [&](std::string_view what, beast::error_code error) {
    const bool timed_out = error == asio::error::timed_out;
    return fail(timed_out ? ErrorCode::timed_out : ErrorCode::unavailable,
                fmt::format("{} {}: {}", what, server, error.message()));
  };
  try {
    Exchange exchange(timeout_);
    if (const auto error = exchange.connect(host_, port_)) return failed("cannot reach", error);
    if (const auto error = exchange.send(make_request(authority(), method, path, body)))
      return failed("lost the connection to", error);
    http::response_parser<http::string_body> parser;
    parser.body_limit(response_bytes);
    if (const auto error = exchange.receive(parser)) return failed("no answer from", error);
    return decode_response(parser.get(), server);
  } catch (const std::exception& exception) {
    return fail(ErrorCode::internal,
                fmt::format("the request to {} failed: {}", server, exception.what()));
  }
}

}  // namespace icbd::rest
