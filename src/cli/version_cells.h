// What several commands show of images and versions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "icbd/cli/terminal.h"

#include "format.h"

namespace icbd::cli {

// "arriving 42 %", or just the state.
Cell state_cell(const nlohmann::json& version);
// "current, stable"
std::string tags_of_version(const nlohmann::json& version);
// {"current": 3, "stable": 2} as "current=3 stable=2"
std::string tags_of_image(const nlohmann::json& tags);
// "open: 2 files", or just the kind.
std::string describe_hold(const nlohmann::json& hold);

void print_table(const Terminal& terminal, const Table& table);

}  // namespace icbd::cli
