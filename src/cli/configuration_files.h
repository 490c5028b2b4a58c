// Configurations of the daemons, for commands that work on this machine.
#pragma once

#include <filesystem>
#include <string_view>
#include <variant>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/config/config.h"
#include "icbd/config/describe.h"

namespace icbd::cli {

enum class Daemon { unknown, master, cache };
std::string_view to_string(Daemon daemon);

using Configuration = std::variant<config::Master, config::Cache>;
Daemon daemon_of(const Configuration& configuration);
std::vector<config::DescribedKey> describe(const Configuration& configuration);

// As that of the daemon; if it is unknown, of the one that takes the file. A file that both would
// take is a cache's only if it is named so.
Result<Configuration> load_configuration(const std::filesystem::path& file, Daemon daemon);

// master.toml and cache.toml, those that are there.
std::vector<std::filesystem::path> installed_configurations(const std::filesystem::path& directory);

}  // namespace icbd::cli
