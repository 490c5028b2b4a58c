#include "answers.h"
#include "command.h"
#include "version_cells.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

// As the answer for all versions, of one.
Result<json> holds_of(const Context& context, const std::string& version) {
  ICBD_ASSIGN(const VersionWords words, parse_version_words(version));
  ICBD_ASSIGN(const json answer, context.server.get(words.path()));
  json holds = list_in(answer, "holds");
  for (json& hold : holds) hold["version"] = version_name(answer);
  return json{{"holds", std::move(holds)}};
}

Status show_holds(const Context& context, const std::optional<std::string>& version) {
  ICBD_ASSIGN(const json answer,
              version ? holds_of(context, *version) : context.server.get("/api/holds"));
  if (context.json) {
    print_json(context.terminal, answer);
    return {};
  }
  Table table({"VERSION", "HOLD", "WHAT"});
  for (const json& hold : list_in(answer, "holds"))
    table.add({text(hold, "version"), text(hold, "kind"), text(hold, "detail")});
  if (table.empty())
    context.terminal.out << (version ? "nothing holds it\n" : "nothing is held\n");
  else
    print_table(context.terminal, table);
  return {};
}

}  // namespace

Action define_holds(Arguments& arguments) {
  const auto version = std::make_shared<std::optional<std::string>>();
  arguments.word(word_version, *version, "Of this version only");
  return AskServer([version](const Context& context) { return show_holds(context, *version); });
}

}  // namespace icbd::cli
