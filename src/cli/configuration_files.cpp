#include "configuration_files.h"

#include <fmt/format.h>

#include <array>

namespace icbd::cli {
namespace {

bool is_named(const std::filesystem::path& file, std::string_view daemon) {
  return file.filename().string().contains(daemon);
}

template <typename Loaded>
Result<Configuration> as_configuration(Loaded loaded) {
  if (!loaded) return std::unexpected(std::move(loaded).error());
  return Configuration(std::move(*loaded));
}

}  // namespace

std::string_view to_string(Daemon daemon) {
  switch (daemon) {
    case Daemon::master:
      return "master";
    case Daemon::cache:
      return "cache";
    case Daemon::unknown:
      break;
  }
  return "unknown";
}

Daemon daemon_of(const Configuration& configuration) {
  return std::holds_alternative<config::Master>(configuration) ? Daemon::master : Daemon::cache;
}

std::vector<config::DescribedKey> describe(const Configuration& configuration) {
  return std::visit([](const auto& of) { return config::describe(of); }, configuration);
}

Result<Configuration> load_configuration(const std::filesystem::path& file, Daemon daemon) {
  if (daemon == Daemon::master) return as_configuration(config::load_master(file));
  if (daemon == Daemon::cache) return as_configuration(config::load_cache(file));
  auto master = config::load_master(file);
  auto cache = config::load_cache(file);
  if (master && cache)
    return is_named(file, "cache") ? Configuration(std::move(*cache))
                                   : Configuration(std::move(*master));
  if (master || cache)
    return master ? Configuration(std::move(*master)) : Configuration(std::move(*cache));
  if (is_named(file, "master") || master.error().message() == cache.error().message())
    return std::unexpected(master.error());
  if (is_named(file, "cache")) return std::unexpected(cache.error());
  return fail(ErrorCode::invalid_argument,
              fmt::format("neither that of a master ({}) nor that of a cache ({})",
                          master.error().message(), cache.error().message()));
}

std::vector<std::filesystem::path> installed_configurations(
    const std::filesystem::path& directory) {
  static constexpr std::array names = {"master.toml", "cache.toml"};
  std::vector<std::filesystem::path> found;
  for (const char* const name : names) {
    std::error_code ignored;
    if (std::filesystem::exists(directory / name, ignored)) found.push_back(directory / name);
  }
  return found;
}

}  // namespace icbd::cli
