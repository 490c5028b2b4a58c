// The only translation unit with Beast's client side.
#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>

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

// One request and its response within one deadline. Operations are asynchronous, because only
// those can be given up.
class Exchange {
 public:
  explicit Exchange(std::chrono::milliseconds timeout)
      : deadline_(std::chrono::steady_clock::now() + timeout) {}

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

 private:
  // Runs what `start` begins until it is done or the deadline has passed.
  template <typename Start>
  beast::error_code run(Start start) {
    std::optional<beast::error_code> outcome;
    start([&outcome](beast::error_code error) { outcome = error; });
    context_.restart();
    context_.run_until(deadline_);
    if (outcome) return *outcome;
    beast::error_code ignored;
    static_cast<void>(stream_.socket().close(ignored));
    return asio::error::timed_out;
  }

  std::chrono::steady_clock::time_point deadline_;
  asio::io_context context_;
  beast::tcp_stream stream_{context_};
  beast::flat_buffer buffer_;
};

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

Result<json> HttpClient::call(const std::string& method, const std::string& path,
                              const json* body) const {
  const std::string authority = host_.contains(':') ? fmt::format("[{}]:{}", host_, port_)
                                                    : fmt::format("{}:{}", host_, port_);
  const std::string server = fmt::format("http://{}", authority);
  const auto failed = [&](std::string_view what, beast::error_code error) {
    const bool timed_out = error == asio::error::timed_out;
    return fail(timed_out ? ErrorCode::timed_out : ErrorCode::unavailable,
                fmt::format("{} {}: {}", what, server, error.message()));
  };
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

  try {
    Exchange exchange(timeout_);
    if (const auto error = exchange.connect(host_, port_)) return failed("cannot reach", error);
    if (const auto error = exchange.send(request)) return failed("lost the connection to", error);
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
