#include "suggest.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/closest.h"

namespace icbd::cli {
namespace {

bool is_command(const CLI::App& app, const std::string& word) {
  return std::ranges::any_of(app.get_subcommands({}),
                             [&](const CLI::App* command) { return command->get_name() == word; });
}

}  // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::string_view meant = closest(word, candidates);
  return meant.empty() ? std::string() : fmt::format("; did you mean {}?", meant);
}

std::vector<std::string> known_words(const CLI::App& app) {
  std::vector<std::string> words;
  const auto add_options = [&words](const CLI::App& of) {
    for (const CLI::Option* option : of.get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  };
  add_options(app);
  for (const CLI::App* command : app.get_subcommands({})) {
    words.push_back(command->get_name());
    add_options(*command);
  }
  return words;
}

std::string unknown_word(const CLI::App& app, std::span<const std::string> arguments) {
  const bool has_command = !app.get_subcommands().empty();
  const std::vector<std::string> known = known_words(app);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string word = arguments[i].substr(0, arguments[i].find('='));
    if (word == "--") break;
    if (word.starts_with("--") && std::ranges::find(known, word) == known.end()) return word;
    if (arguments[i] == "--server") ++i;
    if (!word.starts_with('-') && !has_command) return is_command(app, word) ? "" : word;
  }
  return {};
}

}  // namespace icbd::cli
