// HTTP with JSON bodies: the transport of REST, over Boost.Beast.
//
// Purpose: a small server with routes and a small client. Beast stays in rest/'s translation
// units: this header is all that others see.
// Guarantees: the server is thread-safe and runs its handlers on its own threads; bodies are
// bounded by limits::rest_body (server) and 16 MiB (client); a peer that takes longer than the
// server's timeout for one whole request, one whole response or the pause between two is cut off.
// A streamed response is written by a thread of its own, of which there are a few; further ones are
// answered 503. It waits for the peer, so that nothing piles up here, but not for ever; and if its
// writer fails after the first byte, the connection ends without the body's end (or is reset, for
// HTTP/1.0), so that nobody takes what was sent for all of it.
// Errors are {"error": {"code": "not_found", "message": "…"}} with a status from status_of().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/unique_fd.h"
#include "icbd/rest/events.h"

namespace icbd::rest {

struct Request {
  std::string method;             // "GET"
  std::vector<std::string> path;  // decoded segments: {"api", "images", "win11"}
  std::vector<std::pair<std::string, std::string>> query;
  nlohmann::json body;  // null if there was none
};
// Takes the next piece of a body, and waits until it is on its way. An error says that the peer has
// gone, or that the server is stopping.
using BodySink = std::function<Status(ByteView piece)>;
// Writes a whole body. An error before the first piece is answered as any other.
using BodyWriter = std::function<Status(const BodySink& sink)>;
struct Response {
  int status = 200;
  nlohmann::json body = {};
  // Instead of `body`, if it is there: called once, on a thread of its own. Bytes of any kind.
  BodyWriter stream = {};
  // Instead of an answer: the connection listens to the server's hub until either side ends it.
  bool events = false;
};
using Handler = std::function<Result<Response>(const Request&)>;

// The HTTP status of an error. The only place where one is turned into the other.
int status_of(ErrorCode code);

struct HttpServerOptions {
  unsigned threads = 2;
  std::chrono::milliseconds timeout = std::chrono::seconds(30);
  EventHub* events = nullptr;  // what answers with `events` listen to; outlives the server
  std::chrono::milliseconds keepalive = std::chrono::seconds(5);  // on connections that listen
  std::size_t streams = 4;  // responses that are streamed at the same time
  // How long the peer of one may take nothing: a receiver waits for its disk now and then.
  std::chrono::milliseconds stream_stall = std::chrono::minutes(5);
};

class HttpServer {
 public:
  // Takes a listening socket. The handler is called concurrently, on the server's threads.
  HttpServer(unique_fd listening, Handler handler, Logger logger, HttpServerOptions options = {});
  ~HttpServer();  // as stop()
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class HttpClient {
 public:
  // "http://127.0.0.1:5009"; https is `unsupported` for now.
  static Result<HttpClient> make(std::string_view base_url);
  // The response's JSON if its status is 2xx; else the error it carries. `unavailable` if the
  // server cannot be reached, naming its address.
  Result<nlohmann::json> get(const std::string& path) const;
  Result<nlohmann::json> post(const std::string& path, const nlohmann::json& body) const;
  Result<nlohmann::json> put(const std::string& path, const nlohmann::json& body) const;
  Result<nlohmann::json> remove(const std::string& path) const;  // DELETE
  // Follows a stream of events on the calling thread. Returns `cancelled` when it is to stop, else
  // why it has ended: `timed_out` after `silence` without a byte, `unavailable` if the server has
  // gone.
  Status follow(const std::string& path, std::stop_token stop, std::chrono::milliseconds silence,
                const std::function<void(const Event&)>& received) const;
  // A body of any length, piece by piece, on the calling thread; a sink that fails ends it. As
  // get() until the body begins; then `unavailable` if it stops before its end, `timed_out` after
  // `silence` without a byte.
  Status download(const std::string& path, std::chrono::milliseconds silence,
                  const BodySink& sink) const;
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

 private:
  HttpClient(std::string host, std::string port) : host_(std::move(host)), port_(std::move(port)) {}
  Result<nlohmann::json> call(const std::string& method, const std::string& path,
                              const nlohmann::json* body) const;
  std::string authority() const;
  std::string host_, port_;
  std::chrono::milliseconds timeout_{30'000};
};

}  // namespace icbd::rest
