#include <fmt/format.h>

#include "answers.h"
#include "following.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct PullOptions {
  std::string version;
  bool no_wait = false;
  bool cancel = false;
};

Status cancel(const Context& context, const VersionWords& words) {
  ICBD_ASSIGN(const json version, context.server.post(words.path("/unpull"), json::object()));
  if (context.json) {
    print_json(context.terminal, version);
  } else {
    context.terminal.out << fmt::format(
        "{} is not pulled any longer; what has arrived of it stays\n", version_name(version));
  }
  return {};
}

Status pull(const Context& context, const PullOptions& options) {
  ICBD_ASSIGN(VersionWords words, parse_version_words(options.version));
  if (options.cancel) return cancel(context, words);
  ICBD_ASSIGN(const json asked, context.server.post(words.path("/pull"), json::object()));
  words.version = std::to_string(number(asked, "number"));
  if (options.no_wait) {
    if (context.json)
      print_json(context.terminal, asked);
    else
      context.terminal.out << fmt::format("{} is being pulled\n", words.name());
    return {};
  }
  ICBD_ASSIGN(
      const json version,
      follow_arrival(context.server, context.terminal, words,
                     {.quiet = context.json,
                      .when_interrupted = fmt::format(
                          "interrupted; {0} goes on arriving, from where it was even after a "
                          "restart. icbd pull {0} shows it again, icbd pull --cancel {0} ends it",
                          words.name())}));
  print_complete(context, version);
  return {};
}

}  // namespace

Action define_pull(Arguments& arguments) {
  const auto options = std::make_shared<PullOptions>();
  arguments.word(word_version, options->version, "The version to have complete on this cache");
  arguments.flag("--no-wait", options->no_wait, "Return at once; it arrives in the background");
  arguments.flag("--cancel", options->cancel, "Pull it no longer; what has arrived of it stays");
  arguments.exclude("--cancel", "--no-wait");
  return AskServer([options](const Context& context) { return pull(context, *options); });
}

}  // namespace icbd::cli
