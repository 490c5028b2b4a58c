#include "complete.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "icbd/catalog/names.h"

#include "answers.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds patience_of_a_shell{500};

// The words before the cursor, as the option parser would take them.
struct Scan {
  const CLI::App* command = nullptr;     // none yet
  const CLI::Option* awaited = nullptr;  // the option whose value is being written
  std::string server;
  std::vector<std::string> values;  // positional arguments of the command so far
  bool is_lost = false;             // something stands there that is no command
};

const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  const auto options = app.get_options([&](const CLI::Option* option) {
    return option->nonpositional() && option->check_name(name);
  });
  return options.empty() ? nullptr : options.front();
}

const CLI::Option* find_option(const Scan& scan, const CLI::App& app, const std::string& name) {
  const CLI::Option* const own =
      scan.command == nullptr ? nullptr : find_option(*scan.command, name);
  return own == nullptr ? find_option(app, name) : own;
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  const auto commands =
      app.get_subcommands([&](const CLI::App* command) { return command->get_name() == name; });
  return commands.empty() ? nullptr : commands.front();
}

Scan scan_words(const CommandLine& line, std::span<const std::string> before) {
  Scan scan;
  scan.server = line.server();
  for (const std::string& word : before) {
    if (scan.awaited != nullptr) {
      if (scan.awaited->check_name("--server")) scan.server = word;
      scan.awaited = nullptr;
    } else if (word.starts_with("--server=")) {
      scan.server = word.substr(word.find('=') + 1);
    } else if (word.starts_with('-')) {
      const CLI::Option* const option = find_option(scan, line.app(), word);
      if (option != nullptr && option->get_type_size() != 0) scan.awaited = option;
    } else if (scan.command == nullptr) {
      scan.command = find_command(line.app(), word);
      if (scan.command == nullptr) scan.is_lost = true;
    } else {
      scan.values.push_back(word);
    }
  }
  return scan;
}

// Asks the server for names; an empty answer if it does not say them in time.
class Names {
 public:
  explicit Names(const std::string& url) {
    auto client = rest::HttpClient::make(url);
    if (!client) return;
    client->set_timeout(patience_of_a_shell);
    server_.emplace(std::move(*client));
  }

  std::vector<std::string> images() const {
    std::vector<std::string> names;
    for (const json& image : list_in(ask("/api/images"), "images"))
      names.push_back(text(image, "name"));
    return names;
  }

  // Newest first: numbers, latest, and tags.
  std::vector<std::string> versions(const std::string& image) const {
    if (!catalog::check_image_name(image)) return {};
    const json answer = ask(fmt::format("/api/images/{}", image));
    std::vector<std::string> names;
    for (const json& version : list_in(answer, "versions"))
      names.push_back(std::to_string(number(version, "number")));
    if (names.empty()) return names;
    names.emplace_back(catalog::latest_word);
    names.emplace_back(catalog::current_word);
    const json known = object_in(answer, "tags");
    for (const auto& [tag, version] : known.items())
      if (tag != catalog::current_word) names.push_back(printable(tag));
    return names;
  }

  std::vector<std::string> tags(const std::string& image) const {
    std::vector<std::string> names{std::string(catalog::current_word)};
    if (!catalog::check_image_name(image)) return names;
    const json known = object_in(ask(fmt::format("/api/images/{}", image)), "tags");
    for (const auto& [tag, version] : known.items())
      if (tag != catalog::current_word) names.push_back(printable(tag));
    return names;
  }

 private:
  json ask(const std::string& path) const {
    if (!server_) return json::object();
    auto answer = server_->get(path);
    return answer && answer->is_object() ? std::move(*answer) : json::object();
  }

  std::optional<rest::HttpClient> server_;
};

// "win" leads to images with an "@" behind them; "win11@" to versions.
std::vector<std::string> version_words(const Names& names, const std::string& word,
                                       bool image_alone) {
  std::vector<std::string> words;
  const std::size_t at = word.find('@');
  if (at == std::string::npos) {
    for (const std::string& image : names.images()) {
      words.push_back(image + "@");
      if (image_alone) words.push_back(image);
    }
    return words;
  }
  const std::string image = word.substr(0, at);
  for (const std::string& version : names.versions(image))
    words.push_back(fmt::format("{}@{}", image, version));
  return words;
}

std::vector<std::string> words_of_kind(const std::string& kind, const Scan& scan,
                                       const std::string& word) {
  if (kind == word_file || kind == word_path) return {":files"};
  if (kind == word_directory) return {":directories"};
  if (kind == "ACTION") return {"check", "default", "show"};
  if (kind == "SHELL") return {"bash"};
  if (kind == "CODEC") return {"lz4", "snappy", "zlib", "zstd"};
  // What send takes in the place of a version.
  if (kind == word_version && word.find('/') != std::string::npos) return {":files"};
  const Names names(scan.server);
  if (kind == word_image) return names.images();
  if (kind == word_version || kind == word_image_or_version)
    return version_words(names, word, kind == word_image_or_version);
  if (kind == word_tag && !scan.values.empty())
    return names.tags(scan.values.front().substr(0, scan.values.front().find('@')));
  return {};
}

std::vector<std::string> option_words(const CommandLine& line, const Scan& scan) {
  std::vector<std::string> words;
  const auto add = [&words](const CLI::App& app) {
    for (const CLI::Option* option : app.get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  };
  add(line.app());
  if (scan.command != nullptr) add(*scan.command);
  return words;
}

std::vector<std::string> command_words() {
  std::vector<std::string> words;
  for (const Command& command : commands()) words.emplace_back(command.name);
  return words;
}

// Of the positional argument that comes next; "" if there is none.
std::string next_kind(const Scan& scan) {
  const auto positionals =
      scan.command->get_options([](const CLI::Option* option) { return option->get_positional(); });
  if (positionals.empty()) return {};
  const bool more = scan.values.size() < positionals.size();
  const CLI::Option& option = *positionals[more ? scan.values.size() : positionals.size() - 1];
  if (!more && option.get_expected_max() < CLI::detail::expected_max_vector_size) return {};
  return kind_of_word(option);
}

std::vector<std::string> candidates(const CommandLine& line, const Scan& scan,
                                    const std::string& word) {
  if (scan.is_lost) return {};
  if (scan.awaited != nullptr) return words_of_kind(kind_of_word(*scan.awaited), scan, word);
  if (word.starts_with('-')) return option_words(line, scan);
  if (scan.command == nullptr) return command_words();
  return words_of_kind(next_kind(scan), scan, word);
}

}  // namespace

void complete(const CommandLine& line, std::span<const std::string> words,
              const Terminal& terminal) {
  if (words.empty()) return;
  const std::string& word = words.back();
  try {
    const Scan scan = scan_words(line, words.first(words.size() - 1));
    std::set<std::string> said;
    for (const std::string& candidate : candidates(line, scan, word)) {
      if (!candidate.starts_with(word) && !candidate.starts_with(':')) continue;
      if (said.insert(candidate).second) terminal.out << candidate << "\n";
    }
  } catch (const json::exception&) {
    return;  // a server that answers in another form: there is nothing to suggest
  }
}

}  // namespace icbd::cli
