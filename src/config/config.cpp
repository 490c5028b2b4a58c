#include "icbd/config/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/file.h"

#include "document.h"

namespace icbd::config {
namespace {

// Far more than every key with its comments; a device or a disk image is not read.
constexpr std::size_t file_length_max = 1024 * 1024;

Result<std::string> read_text(const std::filesystem::path& file) {
  const auto content = icbd::read_file(file, file_length_max);
  if (!content) return std::unexpected(content.error().with_context("configuration"));
  return std::string(as_text(*content));
}

template <typename Configuration>
Result<Configuration> parse(std::string_view text, const std::string& name) {
  Configuration configuration;
  ICBD_TRY(read_document(text, name, keys_of(configuration)));
  return configuration;
}

// `inner` is `outer` or below it.
bool lies_in(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto relative = inner.lexically_normal().lexically_relative(outer.lexically_normal());
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

Result<Master> load_master(const std::filesystem::path& file) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_master(text, file.string());
}

Result<Cache> load_cache(const std::filesystem::path& file) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_cache(text, file.string());
}

Result<Master> parse_master(std::string_view text, const std::string& name) {
  return parse<Master>(text, name);
}

Result<Cache> parse_cache(std::string_view text, const std::string& name) {
  ICBD_ASSIGN(Cache cache, parse<Cache>(text, name));
  if (lies_in(cache.repository, cache.mountpoint) || lies_in(cache.mountpoint, cache.repository))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{}: [repository] path \"{}\" and [view] mountpoint \"{}\" must lie "
                    "outside each other: the view would hide the repository, or stand in it",
                    name, cache.repository.string(), cache.mountpoint.string()));
  return cache;
}

}  // namespace icbd::config
