// A server that answers as the test says, and whole command lines against it, in this process.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "icbd/cli/cli.h"
#include "icbd/rest/http.h"

#include "fake_terminal.h"
#include "harness/loopback.h"

namespace icbd::cli::testing {

// Answers "GET /api/status" and the like with what the test put there.
class FakeServer {
 public:
  FakeServer() {
    harness::Listener listener;
    url_ = listener.url();
    server_ = std::make_unique<rest::HttpServer>(
        std::move(listener.socket),
        [this](const rest::Request& request) { return answer(request); }, make_silent_logger(),
        rest::HttpServerOptions{.threads = 1});
  }
  const std::string& url() const { return url_; }
  void stop() { server_->stop(); }
  void on(const std::string& request, nlohmann::json answer) {
    const std::lock_guard lock(mutex_);
    answers_[request] = std::move(answer);
  }
  void forget(const std::string& request) {
    const std::lock_guard lock(mutex_);
    answers_.erase(request);
  }
  // An error as servers answer it.
  void refuse(const std::string& request, ErrorCode code, const std::string& message) {
    const std::lock_guard lock(mutex_);
    refusals_.insert_or_assign(request, Error(code, message));
  }
  nlohmann::json last_body() const {
    const std::lock_guard lock(mutex_);
    return last_body_;
  }
  // "PUT /api/…", in their order.
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  Result<rest::Response> answer(const rest::Request& request) {
    std::string key = request.method + " ";
    for (const std::string& segment : request.path) key += "/" + segment;
    const std::lock_guard lock(mutex_);
    last_body_ = request.body;
    requests_.push_back(key);
    if (const auto refusal = refusals_.find(key); refusal != refusals_.end())
      return std::unexpected(refusal->second);
    const auto found = answers_.find(key);
    if (found == answers_.end()) return fail(ErrorCode::not_found, "there is nothing at " + key);
    return rest::Response{.body = found->second};
  }

  mutable std::mutex mutex_;
  std::map<std::string, nlohmann::json> answers_;
  std::map<std::string, Error> refusals_;
  std::vector<std::string> requests_;
  nlohmann::json last_body_;
  std::string url_;
  std::unique_ptr<rest::HttpServer> server_;
};

struct CliTest : ::testing::Test {
  int run(const std::vector<std::string>& arguments, bool interactive = false,
          unsigned width = 80) {
    return cli::run(arguments, {.server = server.url(), .working_directory = "/home/operator"},
                    fake.terminal(interactive, width));
  }
  std::string out() const { return fake.out.str(); }
  std::string errors() const { return fake.errors.str(); }

  FakeServer server;
  FakeTerminal fake;
};

inline nlohmann::json version(unsigned number, const std::string& state) {
  return {{"image", "win11"},
          {"number", number},
          {"state", state},
          {"published", "2026-11-20T13:45:00Z"},
          {"message", "message " + std::to_string(number)},
          {"data_bytes", 3u << 20}};
}

}  // namespace icbd::cli::testing
