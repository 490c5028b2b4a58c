// Waiting for what a server does: an arrival, or a job. Shows a bar meanwhile.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "icbd/base/error.h"
#include "icbd/cli/terminal.h"
#include "icbd/rest/http.h"

#include "command.h"
#include "version_words.h"

namespace icbd::cli {

struct FollowOptions {
  std::optional<std::chrono::milliseconds> timeout = {};
  bool quiet = false;  // no bar
  // What is said to whoever does not wait any longer.
  std::string when_interrupted;
};

// Until the version is complete on the server; the complete version. What keeps it from arriving
// is said on the error stream whenever it changes. `latest` and tags are looked up once: a newer
// version is not waited for. A version that the server does not know yet may be on its way from the
// master: that is waited for too, but not for long.
Result<nlohmann::json> follow_arrival(const rest::HttpClient& server, const Terminal& terminal,
                                      VersionWords words, const FollowOptions& options);

// Until the job is done: its last report. A failed job is an error.
Result<nlohmann::json> follow_job(const Context& context, const std::string& job,
                                  const std::string& label, const std::string& when_interrupted);

// "win11@3 is complete, 4.0 GiB", or the version as JSON.
void print_complete(const Context& context, const nlohmann::json& version);

}  // namespace icbd::cli
