// The only translation unit with Beast's server side.
#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/rest/api.h"
#include "icbd/rest/http.h"

#include "target.h"

namespace icbd::rest {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using nlohmann::json;

constexpr std::uint32_t header_bytes = 16 * 1024;
// Connections at once; further ones are closed at the door.
constexpr std::size_t connections_max = 1024;
constexpr std::chrono::milliseconds exhausted_pause{100};

// What every connection refers to; outlives them all.
struct Service {
  Handler handler;
  Logger logger;
  std::chrono::milliseconds timeout;
  std::atomic<std::size_t> connections = 0;
};

using HttpRequest = http::request<http::string_body>;
using HttpResponse = http::response<http::string_body>;

Result<Request> decode_request(const HttpRequest& raw) {
  ICBD_ASSIGN(Target target, parse_target({raw.target().data(), raw.target().size()}));
  Request request;
  request.method = std::string(raw.method_string());
  request.path = std::move(target.path);
  request.query = std::move(target.query);
  if (raw.body().empty()) return request;
  request.body = json::parse(raw.body(), nullptr, false);
  if (request.body.is_discarded())
    return fail(ErrorCode::invalid_argument, "the request's body is not JSON");
  return request;
}

Response error_response(const Error& error, int status) {
  return {status, {{"error", to_json(error)}}};
}

// The handler's answer; an exception of a library within it becomes an answer too.
Response answer(const Service& service, const HttpRequest& raw) {
  Result<Response> response = fail(ErrorCode::internal, "no answer");
  try {
    auto request = decode_request(raw);
    response = request ? service.handler(*request) : std::unexpected(std::move(request).error());
  } catch (const std::exception& exception) {
    response = fail(ErrorCode::internal, fmt::format("the request failed: {}", exception.what()));
  }
  if (response) return std::move(*response);
  if (status_of(response.error().code()) == 500)
    service.logger->error("{} {}: {}", std::string_view(raw.method_string()),
                          std::string_view(raw.target()), response.error().message());
  return error_response(response.error(), status_of(response.error().code()));
}

HttpResponse encode_response(const Response& response, bool keep_alive, bool head) {
  HttpResponse raw;
  raw.result(static_cast<unsigned>(response.status));
  raw.set(http::field::server, "icbd");
  raw.set(http::field::content_type, "application/json");
  raw.keep_alive(keep_alive);
  // Names and messages may hold any bytes; what is not UTF-8 must not stop an answer.
  if (!head) raw.body() = response.body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  raw.prepare_payload();
  return raw;
}

// What a request that cannot be read is answered, or nothing if the peer is gone.
std::optional<Response> refusal(beast::error_code error) {
  if (error == http::error::body_limit)
    return error_response(
        Error(ErrorCode::too_large,
              fmt::format("the request's body is over {} bytes", limits::rest_body)),
        413);
  if (error == http::error::header_limit)
    return error_response(
        Error(ErrorCode::too_large, fmt::format("the header is over {} bytes", header_bytes)), 431);
  if (error.category() == make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message)
    return error_response(
        Error(ErrorCode::invalid_argument, fmt::format("this is not HTTP: {}", error.message())),
        400);
  return std::nullopt;
}

// One connection: reads a request, answers it, and again. Kept alive by its outstanding
// operation; everything runs on the connection's strand.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Service& service) : stream_(std::move(socket)), service_(service) {
    service_.connections.fetch_add(1, std::memory_order_relaxed);
  }
  ~Session() { service_.connections.fetch_sub(1, std::memory_order_relaxed); }

  void read() {
    auto& parser = parser_.emplace();
    parser.header_limit(header_bytes);
    parser.body_limit(limits::rest_body);
    stream_.expires_after(service_.timeout);
    http::async_read(stream_, buffer_, parser,
                     [self = shared_from_this(), &parser](beast::error_code error, std::size_t) {
                       self->handle(error, parser.get());
                     });
  }

 private:
  void handle(beast::error_code error, const HttpRequest& request) {
    if (error) {
      if (const auto response = refusal(error)) write(*response, false, false);
      return;
    }
    write(answer(service_, request), request.keep_alive(), request.method() == http::verb::head);
  }

  void write(const Response& response, bool keep_alive, bool head) {
    response_ = encode_response(response, keep_alive, head);
    stream_.expires_after(service_.timeout);
    http::async_write(
        stream_, response_, [self = shared_from_this()](beast::error_code error, std::size_t) {
          if (error) return;
          if (self->response_.keep_alive()) return self->read();
          beast::error_code ignored;
          static_cast<void>(self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored));
        });
  }

  beast::tcp_stream stream_;
  Service& service_;
  beast::flat_buffer buffer_{header_bytes + limits::rest_body};
  std::optional<http::request_parser<http::string_body>> parser_;
  HttpResponse response_;
};

tcp protocol_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  const bool known = getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  return known && address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4();
}

}  // namespace

struct HttpServer::State {
  State(unique_fd listening, Handler handler, Logger logger, std::chrono::milliseconds timeout)
      : service{std::move(handler), std::move(logger), timeout},
        acceptor(context, protocol_of(listening.get()), listening.get()),
        pause(context) {
    listening.release();  // the acceptor's from here on
  }

  void accept() {
    acceptor.async_accept(
        asio::make_strand(context), [this](beast::error_code error, tcp::socket socket) {
          if (error == asio::error::operation_aborted) return;
          if (!error && service.connections.load(std::memory_order_relaxed) < connections_max)
            std::make_shared<Session>(std::move(socket), service)->read();
          if (error != asio::error::no_descriptors) return accept();
          service.logger->warn("no descriptor is left for a REST connection");
          pause.expires_after(exhausted_pause);
          pause.async_wait([this](beast::error_code) { accept(); });
        });
  }

  Service service;
  asio::io_context context;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(unique_fd listening, Handler handler, Logger logger, unsigned threads,
                       std::chrono::milliseconds timeout)
    : state_(std::make_unique<State>(std::move(listening), std::move(handler), std::move(logger),
                                     timeout)) {
  state_->accept();
  for (unsigned i = 0; i < threads; ++i)
    state_->threads.emplace_back([state = state_.get()] { state->context.run(); });
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::stop() {
  if (!state_) return;
  state_->context.stop();
  for (std::thread& thread : state_->threads) thread.join();
  // Connections end with the context that holds their outstanding operations.
  state_.reset();
}

}  // namespace icbd::rest
