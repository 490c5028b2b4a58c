#include "icbd/config/describe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "icbd/base/quote.h"

#include "keys.h"

namespace icbd::config {
namespace {

double seconds(std::chrono::milliseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

struct FormatValue {
  std::string operator()(const FlagTarget& target) const {
    return *target.value ? "true" : "false";
  }
  std::string operator()(const PathTarget& target) const { return quote(target.value->string()); }
  std::string operator()(const PeerTarget& target) const { return quote(*target.value); }
  std::string operator()(const DirectoriesTarget& target) const {
    std::string list;
    for (const ViewDirectory& directory : *target.value) {
      const std::string source = directory.source.string();
      list += list.empty() ? "" : ", ";
      list += quote(directory.name + (source.empty() ? "" : "=" + source));
    }
    return "[" + list + "]";
  }
  std::string operator()(const ListenTarget& target) const { return quote(*target.value); }
  std::string operator()(const ChoiceTarget& target) const { return quote(*target.value); }
  std::string operator()(const SizeTarget& target) const { return std::to_string(*target.value); }
  std::string operator()(const UuidTarget& target) const {
    return quote(*target.value ? (*target.value)->to_string() : std::string());
  }
  std::string operator()(const NodeNameTarget& target) const { return quote(*target.value); }
  std::string operator()(const TextTarget& target) const { return quote(*target.value); }
  std::string operator()(const TextsTarget& target) const {
    std::string list;
    for (const std::string& text : *target.value) list += (list.empty() ? "" : ", ") + quote(text);
    return "[" + list + "]";
  }
  std::string operator()(const SshTarget& target) const { return quote(*target.value); }
  std::string operator()(const CodecTarget& target) const {
    return quote(*target.value ? codec::to_string(**target.value) : "auto");
  }
  std::string operator()(const DurationTarget& target) const {
    return fmt::format("{}", seconds(*target.value));
  }
};

struct FormatRange {
  std::string operator()(const FlagTarget&) const { return "true or false"; }
  std::string operator()(const PathTarget& target) const {
    return target.optional ? "an absolute path, or empty" : "an absolute path";
  }
  std::string operator()(const PeerTarget& target) const {
    return target.optional ? "HOST:PORT, or empty" : "HOST:PORT";
  }
  std::string operator()(const DirectoriesTarget&) const {
    return "a list of \"NAME\" and \"NAME=/PATH\"";
  }
  std::string operator()(const ListenTarget&) const { return "ADDRESS:PORT"; }
  std::string operator()(const ChoiceTarget& target) const {
    return fmt::format("{}", fmt::join(target.choices, ", "));
  }
  std::string operator()(const SizeTarget&) const { return "bytes, or as in \"1 MiB\""; }
  std::string operator()(const UuidTarget&) const { return "a UUID, or empty"; }
  std::string operator()(const NodeNameTarget&) const {
    return "A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";
  }
  std::string operator()(const TextTarget&) const { return "one line of text"; }
  std::string operator()(const TextsTarget&) const { return "a list of texts"; }
  std::string operator()(const SshTarget&) const { return "ssh://USER@HOST:PORT/PATH, or empty"; }
  std::string operator()(const CodecTarget&) const {
    return "auto, none, lz4, snappy, zlib, zstd, with a level as in zstd:3";
  }
  std::string operator()(const DurationTarget& target) const {
    return fmt::format("{} to {} seconds", seconds(target.min), seconds(target.max));
  }
};

template <typename Configuration>
std::vector<DescribedKey> describe_all(Configuration configuration) {
  Configuration untouched;
  const std::vector<Key> keys = keys_of(configuration);
  const std::vector<Key> standards = keys_of(untouched);
  std::vector<DescribedKey> described;
  described.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Key& key = keys[i];
    described.push_back(
        {.table = std::string(key.table),
         .name = std::string(key.name),
         .value = std::visit(FormatValue{}, key.target),
         .standard = key.required ? "" : std::visit(FormatValue{}, standards[i].target),
         .range = std::visit(FormatRange{}, key.target)});
  }
  return described;
}

}  // namespace

std::string DescribedKey::label() const {
  return table.empty() ? name : fmt::format("[{}] {}", table, name);
}

std::vector<DescribedKey> describe(const Master& master) {
  return describe_all(master);
}

std::vector<DescribedKey> describe(const Cache& cache) {
  return describe_all(cache);
}

}  // namespace icbd::config
