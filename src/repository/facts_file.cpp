#include "facts_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

namespace icbd::repository {
namespace {

using nlohmann::json;

constexpr int format = 1;
// A message of control characters, each written as \u0000, as much for each path, and as much again
// for the rest.
constexpr std::size_t file_bytes_max = 4 * 6 * (limits::message_length + 3 * limits::path_length);

json encode_time(Timestamp time) {
  return {{"seconds", time.seconds}, {"nanoseconds", time.nanoseconds}};
}

Timestamp decode_time(const json& time) {
  return {time.at("seconds").get<std::int64_t>(), time.at("nanoseconds").get<std::uint32_t>()};
}

// Messages may hold any bytes, and JSON holds text: each byte becomes the character of its number.
json encode_bytes(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

std::string decode_bytes(const json& value) {
  const auto text = value.get<std::string>();
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80 || i + 1 == text.size()) {
      bytes += text[i];
    } else {
      const auto next = static_cast<unsigned char>(text[++i]);
      bytes += static_cast<char>((byte << 6) | (next & 0x3f));
    }
  }
  return bytes;
}

json encode_root(const catalog::RootAttributes& root) {
  return {{"mode", root.mode},
          {"uid", root.uid},
          {"gid", root.gid},
          {"modified", encode_time(root.modified)}};
}

catalog::RootAttributes decode_root(const json& root) {
  return {.mode = root.at("mode").get<std::uint32_t>(),
          .uid = root.at("uid").get<std::uint32_t>(),
          .gid = root.at("gid").get<std::uint32_t>(),
          .modified = decode_time(root.at("modified"))};
}

json encode_place(const std::optional<catalog::AdoptedPlace>& place) {
  if (!place) return nullptr;
  return {{"path", encode_bytes(place->path)}, {"subvolume", place->subvolume.value()}};
}

std::optional<catalog::AdoptedPlace> decode_place(const json& place) {
  if (place.is_null()) return std::nullopt;
  return catalog::AdoptedPlace{
      .path = decode_bytes(place.at("path")),
      .subvolume = SubvolumeId(place.at("subvolume").get<std::uint64_t>())};
}

Result<KeptFacts> decode_members(const json& members) {
  if (const int found = members.at("format").get<int>(); found != format)
    return fail(ErrorCode::unsupported,
                fmt::format("it has the format {}, this release knows {}", found, format));
  KeptFacts kept;
  catalog::VersionFacts& facts = kept.facts;
  facts.image = members.at("image").get<std::string>();
  facts.number = VersionNumber(members.at("number").get<std::uint32_t>());
  ICBD_ASSIGN(facts.uuid, Uuid::parse(members.at("uuid").get<std::string>()));
  ICBD_ASSIGN(facts.manifest, Digest::parse(members.at("manifest").get<std::string>()));
  if (const json& parent = members.at("parent"); !parent.is_null())
    facts.parent = VersionNumber(parent.get<std::uint32_t>());
  facts.message = decode_bytes(members.at("message"));
  facts.published = decode_time(members.at("published"));
  facts.root = decode_root(members.at("root"));
  facts.entries = members.at("entries").get<std::uint32_t>();
  facts.file_bytes = members.at("file_bytes").get<std::uint64_t>();
  facts.data_bytes = members.at("data_bytes").get<std::uint64_t>();
  facts.send_transaction = members.at("send_transaction").get<std::uint64_t>();
  // Not in the files of older releases.
  facts.boot_directory = decode_bytes(members.value("boot_directory", json("")));
  facts.target_file = decode_bytes(members.value("target_file", json("")));
  kept.place = decode_place(members.at("adopted"));
  return kept;
}

// Runs `decode` on the parsed text; what the JSON library throws becomes a Result.
template <typename Decode>
auto decode_json(std::string_view text, Decode decode) -> decltype(decode(json())) {
  try {
    return decode(json::parse(text));
  } catch (const json::exception& error) {
    return fail(ErrorCode::corrupt, error.what());
  }
}

template <typename Decode>
auto decode_file(const std::filesystem::path& file, Decode decode)
    -> decltype(decode(std::string_view())) {
  ICBD_ASSIGN(const Bytes bytes, read_file(file, file_bytes_max));
  auto decoded = decode(as_text(bytes));
  if (!decoded) return std::unexpected(decoded.error().with_context(file.string()));
  return decoded;
}

Status write_if_different(const std::filesystem::path& file, const std::string& text) {
  if (const auto old = read_file(file, file_bytes_max); old && as_text(*old) == text) return {};
  return replace_file(file, as_bytes(text));
}

}  // namespace

std::string encode_facts(const KeptFacts& kept) {
  const catalog::VersionFacts& facts = kept.facts;
  json parent;
  if (facts.parent) parent = facts.parent->value();
  const json members = {{"format", format},
                        {"image", facts.image},
                        {"number", facts.number.value()},
                        {"uuid", facts.uuid.to_string()},
                        {"manifest", facts.manifest.to_string()},
                        {"parent", std::move(parent)},
                        {"message", encode_bytes(facts.message)},
                        {"published", encode_time(facts.published)},
                        {"root", encode_root(facts.root)},
                        {"entries", facts.entries},
                        {"file_bytes", facts.file_bytes},
                        {"data_bytes", facts.data_bytes},
                        {"send_transaction", facts.send_transaction},
                        {"boot_directory", encode_bytes(facts.boot_directory)},
                        {"target_file", encode_bytes(facts.target_file)},
                        {"adopted", encode_place(kept.place)}};
  constexpr int indent = 2;
  return members.dump(indent) + "\n";
}

Result<KeptFacts> decode_facts(std::string_view text) {
  return decode_json(text, decode_members);
}

Status write_facts(const std::filesystem::path& file, const KeptFacts& facts) {
  return write_if_different(file, encode_facts(facts));
}

Result<KeptFacts> read_facts(const std::filesystem::path& file) {
  return decode_file(file, decode_facts);
}

Status write_repository_uuid(const std::filesystem::path& file, const Uuid& uuid) {
  return write_if_different(file, json{{"repository", uuid.to_string()}}.dump() + "\n");
}

Result<Uuid> read_repository_uuid(const std::filesystem::path& file) {
  return decode_file(file, [](std::string_view text) {
    return decode_json(text, [](const json& members) {
      return Uuid::parse(members.at("repository").get<std::string>());
    });
  });
}

}  // namespace icbd::repository
