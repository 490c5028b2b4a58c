// The only translation unit with Beast's server side.
#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/rest/api.h"
#include "icbd/rest/http.h"

#include "stream_threads.h"
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
// Of those that only listen, which cost a few KiB each.
constexpr std::size_t listeners_max = 16 * 1024;
constexpr std::chrono::milliseconds exhausted_pause{100};
constexpr int service_unavailable = 503;
constexpr unsigned http_1_1 = 11;

// What every connection refers to; outlives them all.
struct Service {
  Handler handler;
  Logger logger;
  HttpServerOptions options;
  std::atomic<std::size_t> connections = 0;  // listening ones are not counted
  std::atomic<std::size_t> listeners = 0;
  StreamThreads streams{options.streams, options.stream_stall};
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

// A whole response, for who writes to the socket without Beast.
std::string refuse_stream(const Error& error) {
  std::ostringstream text;
  text << encode_response(error_response(error, status_of(error.code())), false, false);
  return text.str();
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
    stream_.expires_after(service_.options.timeout);
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
    const Response response = answer(service_, request);
    const bool head = request.method() == http::verb::head;
    if (response.events && !head && service_.options.events != nullptr) {
      if (service_.listeners.load(std::memory_order_relaxed) < listeners_max) return listen();
      return write(
          error_response(Error(ErrorCode::busy, "too many listen already"), service_unavailable),
          false, false);
    }
    if (response.stream && !head) return stream(response.stream, request);
    write(response, request.keep_alive(), head);
  }

  // From here on the connection is a thread's, which writes to it as fast as the peer takes it.
  void stream(BodyWriter writer, const HttpRequest& request) {
    if (!service_.streams.reserve())
      return write(
          error_response(Error(ErrorCode::busy, fmt::format("{} streams are being sent already",
                                                            service_.options.streams)),
                         service_unavailable),
          false, false);
    beast::error_code error;
    // Without a socket, the thread finds that there is no peer.
    unique_fd socket(stream_.socket().release(error));
    service_.streams.start(
        {.socket = std::move(socket),
         .writer = std::move(writer),
         .chunked = request.version() >= http_1_1,
         .refuse = refuse_stream,
         .failed = [logger = service_.logger,
                    target = std::string(request.target())](const Error& failure) {
           logger->warn("GET {}: {}", target, failure.message());
         }});
  }

  // From here on another object's: what a request needed is given back.
  void listen();

  void write(const Response& response, bool keep_alive, bool head) {
    response_ = encode_response(response, keep_alive, head);
    stream_.expires_after(service_.options.timeout);
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

// A connection that only listens. Kept alive by its outstanding read, which also notices that the
// peer has gone. Everything but tell() runs on the connection's strand.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(beast::tcp_stream stream, Service& service)
      : stream_(std::move(stream)), keepalive_(stream_.get_executor()), service_(service) {
    service_.listeners.fetch_add(1, std::memory_order_relaxed);
  }
  ~Listener() {
    if (id_) service_.options.events->remove(*id_);
    service_.listeners.fetch_sub(1, std::memory_order_relaxed);
  }

  void start() {
    stream_.expires_never();
    send(
        std::make_shared<const std::string>("HTTP/1.1 200 OK\r\nServer: icbd\r\n"
                                            "Content-Type: text/event-stream\r\n"
                                            "Cache-Control: no-store\r\n"
                                            "Connection: close\r\n\r\n"));
    // Weak: what the hub holds must not keep a connection alive that has ended.
    id_ = service_.options.events->add([weak = weak_from_this()](auto text) {
      if (const auto self = weak.lock()) self->tell(std::move(text));
    });
    wait_for_end();
    keep_alive();
  }

 private:
  void tell(std::shared_ptr<const std::string> text) {
    asio::post(stream_.get_executor(), [self = shared_from_this(), text = std::move(text)] {
      self->next_ = text;
      if (!self->sending_) self->send_next();
    });
  }

  void send_next() {
    if (next_) send(std::exchange(next_, nullptr));
  }

  void send(std::shared_ptr<const std::string> text) {
    sending_ = std::move(text);
    // A peer that takes nothing is gone, or might as well be.
    stream_.expires_after(service_.options.timeout);
    asio::async_write(stream_, asio::buffer(*sending_),
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        self->sending_ = nullptr;
                        if (error) return self->end();
                        self->send_next();
                      });
  }

  void keep_alive() {
    keepalive_.expires_after(service_.options.keepalive);
    keepalive_.async_wait([weak = weak_from_this()](beast::error_code error) {
      const auto self = weak.lock();
      if (error || !self) return;
      static const auto comment = std::make_shared<const std::string>(event_keepalive);
      if (!self->sending_) self->send(comment);
      self->keep_alive();
    });
  }

  // On the socket itself: the stream's one deadline is the writer's.
  void wait_for_end() {
    stream_.socket().async_read_some(
        asio::buffer(ignored_), [self = shared_from_this()](beast::error_code error, std::size_t) {
          if (error) return self->end();
          self->wait_for_end();
        });
  }

  void end() {
    beast::error_code ignored;
    static_cast<void>(stream_.socket().close(ignored));
    keepalive_.cancel();
  }

  beast::tcp_stream stream_;
  asio::steady_timer keepalive_;
  Service& service_;
  std::optional<EventHub::Id> id_;
  std::shared_ptr<const std::string> sending_;
  std::shared_ptr<const std::string> next_;  // replaces what has not been sent
  std::array<char, 16> ignored_{};
};

void Session::listen() {
  std::make_shared<Listener>(std::move(stream_), service_)->start();
}

tcp protocol_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  const bool known = getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  return known && address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4();
}

}  // namespace

struct HttpServer::State {
  State(unique_fd listening, Handler handler, Logger logger, const HttpServerOptions& options)
      : service{std::move(handler), std::move(logger), options},
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

HttpServer::HttpServer(unique_fd listening, Handler handler, Logger logger,
                       HttpServerOptions options)
    : state_(std::make_unique<State>(std::move(listening), std::move(handler), std::move(logger),
                                     options)) {
  state_->accept();
  for (unsigned i = 0; i < options.threads; ++i)
    state_->threads.emplace_back([state = state_.get()] { state->context.run(); });
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::stop() {
  if (!state_) return;
  state_->context.stop();
  for (std::thread& thread : state_->threads) thread.join();
  state_->service.streams.stop();
  if (state_->service.options.events != nullptr) state_->service.options.events->clear();
  // Connections end with the context that holds their outstanding operations.
  state_.reset();
}

}  // namespace icbd::rest
