// Reading a server's answers, and printing them.
//
// Guarantees: what is missing reads as nothing; what is there and of another kind throws
// nlohmann::json::exception, which run() turns into a message. Texts come back printable.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "icbd/cli/terminal.h"

#include "format.h"

namespace icbd::cli {

std::uint64_t number(const nlohmann::json& object, const char* key);
// "" also where it is null.
std::string text(const nlohmann::json& object, const char* key);
// An empty array or object where it is missing or null.
nlohmann::json list_in(const nlohmann::json& object, const char* key);
nlohmann::json object_in(const nlohmann::json& object, const char* key);
// "win11@3"
std::string version_name(const nlohmann::json& version);

void print_json(const Terminal& terminal, const nlohmann::json& answer);

}  // namespace icbd::cli
