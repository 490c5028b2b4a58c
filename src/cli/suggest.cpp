#include "suggest.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/closest.h"
#include "icbd/catalog/names.h"

#include "answers.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

bool is_command(const CLI::App& app, const std::string& word) {
  return std::ranges::any_of(app.get_subcommands({}),
                             [&](const CLI::App* command) { return command->get_name() == word; });
}

std::vector<std::string> names_of_images(const json& answer) {
  std::vector<std::string> names;
  for (const json& image : list_in(answer, "images")) names.push_back(text(image, "name"));
  return names;
}

std::vector<std::string> names_of_versions(const json& answer) {
  std::vector<std::string> names;
  for (const json& version : list_in(answer, "versions"))
    names.push_back(std::to_string(number(version, "number")));
  const json tags = object_in(answer, "tags");
  for (const auto& [tag, version] : tags.items()) names.push_back(tag);
  return names;
}

// What there is, when nothing is close: a few names, or the newest numbers.
std::string describe_known(const std::vector<std::string>& names) {
  constexpr std::size_t shown = 5;
  if (names.empty()) return "; there is none yet";
  const std::size_t count = std::min(shown, names.size());
  std::string list;
  for (std::size_t i = names.size() - count; i < names.size(); ++i)
    list += (list.empty() ? "" : ", ") + printable(names[i]);
  return fmt::format("; there {} {}{}", names.size() == 1 ? "is" : "are",
                     names.size() > count ? "among others " : "", list);
}

std::string suggest(std::string_view word, const std::vector<std::string>& names) {
  const std::string meant = did_you_mean(word, names);
  return meant.empty() ? describe_known(names) : meant;
}

// Of "win11@3" or "win11".
std::string suggest_for(const std::string& word, const rest::HttpClient& server) {
  const auto words = parse_version_words(word, Bare::latest);
  if (!words) return {};
  const auto images = server.get("/api/images");
  if (!images) return {};
  const auto names = names_of_images(*images);
  if (std::ranges::find(names, words->image) == names.end())
    return fmt::format("there is no image {}{}", words->image, suggest(words->image, names));
  if (!word.contains('@')) return {};
  const auto image = server.get(fmt::format("/api/images/{}", words->image));
  if (!image) return {};
  const auto versions = names_of_versions(*image);
  const bool is_there = words->version == catalog::latest_word ||
                        words->version == catalog::current_word ||
                        std::ranges::find(versions, words->version) != versions.end();
  if (is_there && !versions.empty()) return {};
  return fmt::format(
      "there is no version {}{}", words->name(),
      words->is_number() ? describe_known(versions) : suggest(words->version, versions));
}

}  // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const std::string_view meant = closest(word, candidates);
  return meant.empty() ? std::string() : fmt::format("; did you mean {}?", printable(meant));
}

std::vector<std::string> known_words(const CLI::App& app) {
  std::vector<std::string> words;
  const auto add_options = [&words](const CLI::App& of) {
    for (const CLI::Option* option : of.get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  };
  add_options(app);
  const auto given = app.get_subcommands();
  if (!given.empty()) {
    add_options(*given.front());
    return words;
  }
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

std::string suggest_names(const CLI::App& command, const rest::HttpClient& server) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string kind = kind_of_word(*option);
    if (kind != word_image && kind != word_version && kind != word_image_or_version) continue;
    for (const std::string& word : option->results())
      if (std::string suggestion = suggest_for(word, server); !suggestion.empty())
        return suggestion;
  }
  return {};
}

}  // namespace icbd::cli
