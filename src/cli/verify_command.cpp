#include <fmt/format.h>

#include "answers.h"
#include "following.h"
#include "format.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

Status verify(const Context& context, const std::string& version) {
  ICBD_ASSIGN(const VersionWords words, parse_version_words(version));
  ICBD_ASSIGN(const json started, context.server.post(words.path("/verify"), json::object()));
  const std::string job = text(started, "job");
  ICBD_ASSIGN(const json report,
              follow_job(context, job, fmt::format("verifying {}", words.name()),
                         fmt::format("interrupted; the server goes on with job {}", job)));
  const json result = object_in(report, "result");
  const json problems = list_in(result, "problems");
  if (context.json) {
    print_json(context.terminal, report);
  } else {
    for (const json& problem : problems)
      context.terminal.out << printable(problem.get<std::string>()) << "\n";
    context.terminal.out << fmt::format("{}: {} compared with the manifest, {}\n", words.name(),
                                        format_size(number(result, "verified_bytes")),
                                        format_count(problems.size(), "problem"));
  }
  if (problems.empty()) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("{} is not what its manifest says. On a cache: icbd drop {}, and it is "
                          "fetched again; on a master: look at its disk",
                          words.name(), words.name()));
}

}  // namespace

Action define_verify(Arguments& arguments) {
  const auto version = std::make_shared<std::string>();
  arguments.word(word_version, *version, "A complete version: every byte of it is read");
  arguments.footer("Exit code 1: it is not what its manifest says.");
  return AskServer([version](const Context& context) { return verify(context, *version); });
}

}  // namespace icbd::cli
