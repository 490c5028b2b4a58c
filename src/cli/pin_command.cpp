// `icbd pin` and `icbd unpin`.
#include <fmt/format.h>

#include "answers.h"
#include "command.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct PinOptions {
  std::string version;
  std::string reason;
};

Status report(const Context& context, const Result<json>& answer, std::string_view done) {
  if (!answer) return std::unexpected(answer.error());
  if (context.json)
    print_json(context.terminal, *answer);
  else
    context.terminal.out << done;
  return {};
}

Status pin(const Context& context, const PinOptions& options) {
  ICBD_ASSIGN(const VersionWords words, parse_version_words(options.version));
  return report(
      context, context.server.put(words.path("/pin"), {{"reason", options.reason}}),
      fmt::format("pinned {}: it stays until icbd unpin {}\n", words.name(), words.name()));
}

Status unpin(const Context& context, const std::string& version) {
  ICBD_ASSIGN(const VersionWords words, parse_version_words(version));
  return report(context, context.server.remove(words.path("/pin")),
                fmt::format("{} is pinned no longer\n", words.name()));
}

}  // namespace

Action define_pin(Arguments& arguments) {
  const auto options = std::make_shared<PinOptions>();
  arguments.word(word_version, options->version, "The version that has to stay");
  arguments.option("--reason", word_text, options->reason, "Why, for those who come later");
  return AskServer([options](const Context& context) { return pin(context, *options); });
}

Action define_unpin(Arguments& arguments) {
  const auto version = std::make_shared<std::string>();
  arguments.word(word_version, *version, "The version that may go again");
  return AskServer([version](const Context& context) { return unpin(context, *version); });
}

}  // namespace icbd::cli
