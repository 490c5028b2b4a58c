#include "answers.h"

#include <fmt/format.h>

#include "format.h"

namespace icbd::cli {

using nlohmann::json;

namespace {

const json* find(const json& object, const char* key) {
  static_cast<void>(object.get_ref<const json::object_t&>());  // find() takes anything
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

std::uint64_t number(const json& object, const char* key) {
  const json* const found = find(object, key);
  return found == nullptr ? 0 : found->get<std::uint64_t>();
}

std::string text(const json& object, const char* key) {
  const json* const found = find(object, key);
  return found == nullptr ? std::string() : printable(found->get_ref<const std::string&>());
}

json list_in(const json& object, const char* key) {
  const json* const found = find(object, key);
  return found == nullptr ? json::array() : *found;
}

json object_in(const json& object, const char* key) {
  const json* const found = find(object, key);
  return found == nullptr ? json::object() : *found;
}

std::string version_name(const json& version) {
  return fmt::format("{}@{}", text(version, "image"), number(version, "number"));
}

void print_json(const Terminal& terminal, const json& answer) {
  terminal.out << answer.dump(2, ' ', false, json::error_handler_t::replace) << "\n";
}

}  // namespace icbd::cli
