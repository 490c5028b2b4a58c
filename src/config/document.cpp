#include "document.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "icbd/base/closest.h"
#include "icbd/base/quote.h"
#include "icbd/config/ssh_location.h"

#include "address.h"

namespace icbd::config {
namespace {

// Why a value is refused, in words that follow the key.
using Fault = std::optional<std::string>;

// Linux: HOST_NAME_MAX.
constexpr std::size_t node_name_length = 64;
// Of a text that is only shown.
constexpr std::size_t text_length = 255;

std::string_view kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

std::string must_be(std::string_view what, const toml::node& node) {
  return fmt::format("must be {}, not {}", what, kind_of(node));
}

Fault read_text(const toml::node& node, std::string& text) {
  const auto value = node.value_exact<std::string>();
  if (!value) return must_be("a text in quotes", node);
  text = *value;
  return {};
}

// "" where there is nothing to suggest.
std::string did_you_mean(std::string_view suggestion, std::string_view before = "\"",
                         std::string_view behind = "\"") {
  if (suggestion.empty()) return {};
  return fmt::format("; did you mean {}{}{}?", before, suggestion, behind);
}

// "512", "1 MiB"; nothing if it is no size or does not fit 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, unsigned>, 5> units = {
      {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto* const known =
      std::ranges::find(units, unit, [](const auto& entry) { return entry.first; });
  if (known == units.end()) return std::nullopt;
  if (number > (std::numeric_limits<std::uint64_t>::max() >> known->second)) return std::nullopt;
  return number << known->second;
}

// "iso=/srv/iso"
ViewDirectory split_directory(std::string_view text) {
  const std::size_t equals = std::min(text.find('='), text.size());
  const std::string_view source = text.substr(std::min(equals + 1, text.size()));
  return {.name = std::string(text.substr(0, equals)), .source = source};
}

Fault check_directory(const ViewDirectory& directory, std::span<const ViewDirectory> others) {
  constexpr std::size_t name_length = 255;  // NAME_MAX
  const std::string& name = directory.name;
  if (name.empty() || name.size() > name_length || name.starts_with('.') ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
    return fmt::format("{} cannot name a directory at the root of the view", quote(name));
  if (!directory.source.empty() && !directory.source.is_absolute())
    return fmt::format("{}: {} must be an absolute path", name, quote(directory.source.string()));
  if (std::ranges::find(others, name, &ViewDirectory::name) != others.end())
    return fmt::format("{} is there twice", quote(name));
  return {};
}

Fault read_line(const toml::node& node, std::string& line) {
  std::string text;
  if (Fault fault = read_text(node, text)) return fault;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' '; };
  if (text.size() > text_length || std::ranges::any_of(text, is_control))
    return fmt::format("must be at most {} bytes on one line", text_length);
  line = std::move(text);
  return {};
}

struct ReadValue {
  const toml::node& node;

  Fault operator()(const FlagTarget& target) const {
    const auto value = node.value_exact<bool>();
    if (!value) return must_be("true or false", node);
    *target.value = *value;
    return {};
  }

  Fault operator()(const PathTarget& target) const {
    std::string text;
    if (Fault fault = read_text(node, text)) return fault;
    const std::filesystem::path path(text);
    if (text.empty() && target.optional) {
      target.value->clear();
      return {};
    }
    if (!path.is_absolute() || text.find('\0') != std::string::npos)
      return fmt::format("must be an absolute path, not {}", quote(text));
    *target.value = path;
    return {};
  }

  Fault operator()(const PeerTarget& target) const {
    if (target.optional && node.value_exact<std::string>() == "") {
      target.value->clear();
      return {};
    }
    return read_address(*target.value, false);
  }

  Fault operator()(const DirectoriesTarget& target) const {
    const toml::array* const list = node.as_array();
    if (!list) return must_be("a list of texts", node);
    std::vector<ViewDirectory> directories;
    for (const toml::node& item : *list) {
      std::string text;
      if (Fault fault = read_text(item, text)) return fault;
      ViewDirectory directory = split_directory(text);
      if (Fault fault = check_directory(directory, directories)) return fault;
      directories.push_back(std::move(directory));
    }
    *target.value = std::move(directories);
    return {};
  }

  Fault operator()(const ListenTarget& target) const {
    if (Fault fault = read_address(*target.value, true)) return fault;
    if (is_loopback(*target.value) || *target.plaintext_allowed) return {};
    return fmt::format(
        "{} can be reached from other machines, and all that is sent there is plain text: listen "
        "on 127.0.0.1, or allow it with insecure_plaintext = true at the top of the file",
        quote(*target.value));
  }

  Fault operator()(const ChoiceTarget& target) const {
    std::string word;
    if (Fault fault = read_text(node, word)) return fault;
    if (std::ranges::find(target.choices, word) == target.choices.end())
      return fmt::format("must be one of {}, not {}{}", fmt::join(target.choices, ", "),
                         quote(word), did_you_mean(closest(word, target.choices)));
    *target.value = word;
    return {};
  }

  Fault operator()(const SizeTarget& target) const {
    std::optional<std::uint64_t> size;
    if (const auto number = node.value_exact<std::int64_t>())
      size = *number >= 0 ? std::optional(static_cast<std::uint64_t>(*number)) : std::nullopt;
    else if (const auto text = node.value_exact<std::string>())
      size = parse_size(*text);
    else
      return must_be("a number of bytes, or a text such as \"1 MiB\"", node);
    if (!size || *size > target.max)
      return "must be a number of bytes, or one with KiB, MiB, GiB or TiB, such as \"1 MiB\"";
    *target.value = *size;
    return {};
  }

  Fault operator()(const UuidTarget& target) const {
    std::string text;
    if (Fault fault = read_text(node, text)) return fault;
    target.value->reset();
    if (text.empty()) return {};
    const auto uuid = Uuid::parse(text);
    if (!uuid) return fmt::format("must be a UUID, not {}", quote(text));
    *target.value = *uuid;
    return {};
  }

  Fault operator()(const NodeNameTarget& target) const {
    std::string name;
    if (Fault fault = read_text(node, name)) return fault;
    const bool well_formed = std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '-' || c == '_';
    });
    if (!well_formed || name.size() > node_name_length)
      return fmt::format("must be at most {} of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"",
                         node_name_length);
    *target.value = name;
    return {};
  }

  Fault operator()(const CodecTarget& target) const {
    std::string text;
    if (Fault fault = read_text(node, text)) return fault;
    if (text == "auto") {
      target.value->reset();
      return {};
    }
    const auto setting = codec::parse_setting(text);
    if (!setting) return fmt::format("must be \"auto\" or a codec: {}", setting.error().message());
    *target.value = *setting;
    return {};
  }

  Fault operator()(const TextTarget& target) const { return read_line(node, *target.value); }

  Fault operator()(const TextsTarget& target) const {
    const toml::array* const list = node.as_array();
    if (!list) return must_be("a list of texts", node);
    std::vector<std::string> texts;
    for (const toml::node& item : *list)
      if (Fault fault = read_line(item, texts.emplace_back())) return fault;
    *target.value = std::move(texts);
    return {};
  }

  Fault operator()(const SshTarget& target) const {
    std::string text;
    if (Fault fault = read_text(node, text)) return fault;
    if (!text.empty())
      if (const auto location = parse_ssh_location(text); !location)
        return fmt::format("{}, not {}", location.error().message(), quote(text));
    *target.value = text;
    return {};
  }

  Fault operator()(const DurationTarget& target) const {
    if (!node.is_number()) return must_be("a number of seconds", node);
    using Seconds = std::chrono::duration<double>;
    const double seconds = node.value<double>().value_or(NAN);
    // Written so that what is no number at all is refused too.
    // NOLINTNEXTLINE(readability-simplify-boolean-expr): turned around, they would let NaN pass.
    if (!(seconds >= Seconds(target.min).count() && seconds <= Seconds(target.max).count()))
      return fmt::format("must be {} to {} seconds", Seconds(target.min).count(),
                         Seconds(target.max).count());
    *target.value = std::chrono::round<std::chrono::milliseconds>(Seconds(seconds));
    return {};
  }

 private:
  Fault read_address(std::string& address, bool listening) const {
    std::string text;
    if (Fault fault = read_text(node, text)) return fault;
    if (const std::string_view fault = address_fault(text, listening); !fault.empty())
      return fmt::format("{}, not {}", fault, quote(text));
    address = std::move(text);
    return {};
  }
};

// A file, or one setting, which is a document of one key.
class Document {
 public:
  enum class Kind : std::uint8_t { file, setting };
  Document(toml::table root, std::string name, Kind kind, std::span<const Key> keys)
      : root_(std::move(root)), name_(std::move(name)), kind_(kind), keys_(keys) {}

  // Everything that stands in the document must be known.
  Status check_known() const {
    for (const auto& [key, node] : root_) {
      if (has_key("", key.str())) continue;
      if (!has_table(key.str())) return unknown_at_top(key, node);
      const toml::table* const table = node.as_table();
      if (!table)
        return refuse(node.source(), fmt::format("[{}] {}", key.str(), must_be("a table", node)));
      for (const auto& [inner_key, inner_node] : *table)
        if (!has_key(key.str(), inner_key.str())) return unknown_in_table(key.str(), inner_key);
    }
    return {};
  }

  bool has(const Key& key) const { return find(key) != nullptr; }

  // The key is there.
  Status read(const Key& key) const {
    const toml::node& node = *find(key);
    if (const Fault fault = std::visit(ReadValue{node}, key.target))
      return refuse(node.source(), label(key) + " " + *fault);
    return {};
  }

 private:
  const toml::node* find(const Key& key) const {
    if (key.table.empty()) return root_.get(key.name);
    const toml::table* const table = root_[key.table].as_table();
    return table ? table->get(key.name) : nullptr;
  }

  bool has_key(std::string_view table, std::string_view name) const {
    return std::ranges::any_of(
        keys_, [&](const Key& key) { return key.table == table && key.name == name; });
  }

  bool has_table(std::string_view table) const {
    return std::ranges::any_of(keys_, [&](const Key& key) { return key.table == table; });
  }

  std::unexpected<Error> unknown_at_top(const toml::key& key, const toml::node& node) const {
    if (node.is_table() || node.is_array_of_tables()) {
      std::vector<std::string_view> tables;
      for (const Key& known : keys_)
        if (!known.table.empty()) tables.push_back(known.table);
      return refuse(key.source(), fmt::format("unknown table [{}]{}", key.str(),
                                              did_you_mean(closest(key.str(), tables), "[", "]")));
    }
    return refuse(key.source(),
                  fmt::format("unknown key {}{}", quote(key.str()), hint("", key.str())));
  }

  std::unexpected<Error> unknown_in_table(std::string_view table, const toml::key& key) const {
    return refuse(key.source(), fmt::format("unknown key {} in [{}]{}", quote(key.str()), table,
                                            hint(table, key.str())));
  }

  // What was probably meant by an unknown key: a slip, or the right key in the wrong place.
  std::string hint(std::string_view table, std::string_view name) const {
    std::vector<std::string_view> names;
    for (const Key& key : keys_) {
      if (key.table == table)
        names.push_back(key.name);
      else if (key.name == name && key.table.empty())
        return "; it belongs at the top of the file";
      else if (key.name == name)
        return fmt::format("; it belongs in [{}]", key.table);
    }
    return did_you_mean(closest(name, names));
  }

  std::unexpected<Error> refuse(const toml::source_region& where, std::string_view reason) const {
    return fail(ErrorCode::invalid_argument,
                kind_ == Kind::setting ? fmt::format("{}: {}", name_, reason)
                                       : fmt::format("{}:{}: {}", name_, where.begin.line, reason));
  }

  toml::table root_;
  std::string name_;
  Kind kind_;
  std::span<const Key> keys_;
};

// What a setting says, with the type that its key wants where the text can be read as that: people
// type `--set node.name=7` and mean a text. What cannot is left a text, which the key refuses.
toml::table value_of(std::string_view text, bool wants_text) {
  const bool quoted = text.starts_with('"') || text.starts_with('\'');
  if (!wants_text || quoted) {
    try {
      toml::table parsed = toml::parse("value = " + std::string(text));
      if (parsed.size() == 1) return parsed;  // a line break would let more keys in
    } catch (const toml::parse_error&) {      // NOLINT(bugprone-empty-catch): then it is a text
    }
  }
  return toml::table{{"value", text}};
}

toml::table table_of(const Setting& setting, std::span<const Key> keys) {
  const std::size_t dot = setting.key.find('.');
  const std::string table = dot == std::string::npos ? "" : setting.key.substr(0, dot);
  const std::string name = dot == std::string::npos ? setting.key : setting.key.substr(dot + 1);
  const auto key = std::ranges::find_if(
      keys, [&](const Key& known) { return known.table == table && known.name == name; });
  const toml::table parsed = value_of(setting.value, key == keys.end() || takes_text(key->target));
  toml::table inner;
  inner.insert(name, *parsed.get("value"));
  if (table.empty()) return inner;
  return toml::table{{table, std::move(inner)}};
}

std::unexpected<Error> missing(const Key& key, const std::string& name) {
  if (!name.empty())
    return fail(ErrorCode::invalid_argument, fmt::format("{}: {} is missing", name, label(key)));
  const std::string dot = key.table.empty() ? "" : ".";
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is missing: name a file with --config, or set it with --set {}{}{}=…",
                          label(key), key.table, dot, key.name));
}

Result<toml::table> parse(std::string_view text, const std::string& name) {
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}:{}: {}", name, error.source().begin.line, error.description()));
  }
}

}  // namespace

Status read_document(std::string_view text, const std::string& name, Settings settings,
                     std::span<const Key> keys) {
  ICBD_ASSIGN(toml::table root, parse(text, name));
  std::vector<Document> documents;
  documents.emplace_back(std::move(root), name, Document::Kind::file, keys);
  for (const Setting& setting : settings)
    documents.emplace_back(table_of(setting, keys), setting.name, Document::Kind::setting, keys);
  for (const Document& document : documents) ICBD_TRY(document.check_known());
  for (const Key& key : keys) {
    const auto last =
        std::ranges::find_if(documents.rbegin(), documents.rend(),
                             [&](const Document& document) { return document.has(key); });
    if (last != documents.rend())
      ICBD_TRY(last->read(key));
    else if (key.required)
      return missing(key, name);
  }
  return {};
}

}  // namespace icbd::config
