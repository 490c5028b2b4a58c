#include <fmt/format.h>

#include "answers.h"
#include "command.h"
#include "version_cells.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct DropOptions {
  std::vector<std::string> versions;
  bool dry_run = false;
};

// What dropping it would do, or why it would be refused: as the server would say it.
Status consider(const Context& context, const VersionWords& words, json& answers) {
  ICBD_ASSIGN(json version, context.server.get(words.path()));
  if (text(version, "state") == "remote")
    return fail(ErrorCode::not_found, fmt::format("nothing of {} is here", version_name(version)));
  // Of what is here, a cache says what holds it, even if nothing does.
  if (!version.contains("holds"))
    return fail(ErrorCode::unsupported, "the server is no cache: a master drops nothing");
  const json holds = list_in(version, "holds");
  std::string reasons;
  for (const json& hold : holds) reasons += (reasons.empty() ? "" : "; ") + describe_hold(hold);
  answers.push_back(std::move(version));
  if (!reasons.empty())
    return fail(ErrorCode::busy,
                fmt::format("{} is held ({})", version_name(answers.back()), reasons));
  if (!context.json)
    context.terminal.out << fmt::format("would drop {}, {} ({} of data)\n",
                                        version_name(answers.back()), text(answers.back(), "state"),
                                        format_size(number(answers.back(), "data_bytes")));
  return {};
}

Status drop_one(const Context& context, const VersionWords& words, json& answers) {
  Result<json> answer = context.server.remove(words.path());
  if (!answer) {
    if (answer.error().code() != ErrorCode::busy) return std::unexpected(answer.error());
    return fail(ErrorCode::busy, fmt::format("{}; icbd holds {} shows what holds it",
                                             answer.error().message(), words.name()));
  }
  if (!context.json) context.terminal.out << fmt::format("dropped {}\n", words.name());
  answers.push_back(std::move(*answer));
  return {};
}

// One that is refused does not keep the others from being dropped; the first refusal is the
// command's.
Status drop(const Context& context, const DropOptions& options) {
  std::vector<VersionWords> all;
  for (const std::string& version : options.versions) {
    ICBD_ASSIGN(VersionWords words, parse_version_words(version));
    all.push_back(std::move(words));
  }
  json answers = json::array();
  Status first_refusal;
  for (const VersionWords& words : all) {
    const Status done =
        options.dry_run ? consider(context, words, answers) : drop_one(context, words, answers);
    if (done) continue;
    if (first_refusal)
      first_refusal = done;
    else
      context.terminal.errors << fmt::format("icbd: {}\n", printable(done.error().message()));
  }
  if (context.json) print_json(context.terminal, answers);
  return first_refusal;
}

}  // namespace

Action define_drop(Arguments& arguments) {
  const auto options = std::make_shared<DropOptions>();
  arguments.words(word_version, options->versions, "What is to leave this cache");
  arguments.flag("--dry-run", options->dry_run, "Only say what would be dropped, or refused");
  arguments.footer(
      "The master keeps its versions: what was dropped here is fetched again when it is read.");
  return AskServer([options](const Context& context) { return drop(context, *options); });
}

}  // namespace icbd::cli
