#include "following.h"

namespace icbd::cli {
namespace {

struct WaitOptions {
  std::string version;
  std::optional<double> seconds;
};

Status wait_until_complete(const Context& context, const WaitOptions& options) {
  ICBD_ASSIGN(VersionWords words, parse_version_words(options.version, Bare::latest));
  FollowOptions follow{.quiet = context.json,
                       .when_interrupted = "not waiting any longer; the arrival goes on"};
  if (options.seconds)
    follow.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(*options.seconds * 1000));
  ICBD_ASSIGN(const auto version,
              follow_arrival(context.server, context.terminal, std::move(words), follow));
  print_complete(context, version);
  return {};
}

}  // namespace

Action define_wait(Arguments& arguments) {
  const auto options = std::make_shared<WaitOptions>();
  arguments.word(word_image_or_version, options->version, "Which one; IMAGE alone for its latest");
  arguments.option("--timeout", word_seconds, options->seconds, "Give up after so many seconds");
  return AskServer(
      [options](const Context& context) { return wait_until_complete(context, *options); });
}

}  // namespace icbd::cli
