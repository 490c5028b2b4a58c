// The commands of `icbd`: each asks a server over REST and says what it learned.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "icbd/base/error.h"
#include "icbd/cli/terminal.h"
#include "icbd/rest/http.h"

namespace icbd::cli {

// What every command has.
struct Context {
  const rest::HttpClient& server;
  const Terminal& terminal;
  bool json = false;  // print the server's answer and nothing else
};

struct PublishOptions {
  std::string image;
  std::filesystem::path path;
  std::string message;
  bool wait = true;
};
Status publish(const Context& context, const PublishOptions& options,
               const std::filesystem::path& working_directory);

// All images, or the versions of one.
Status list(const Context& context, const std::optional<std::string>& image);

Status show_status(const Context& context, bool watch);

struct WaitOptions {
  std::string version;  // IMAGE, IMAGE@NUMBER or IMAGE@latest
  std::optional<std::chrono::milliseconds> timeout;
};
// Until the version is complete on the server. One that the server does not know yet may be on its
// way from the master: that is waited for too, but not for long.
Status wait_until_complete(const Context& context, const WaitOptions& options);

}  // namespace icbd::cli
