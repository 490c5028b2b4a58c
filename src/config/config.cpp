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

Status check_apart(const std::string& name, const std::filesystem::path& repository,
                   const std::filesystem::path& mountpoint) {
  if (!lies_in(repository, mountpoint) && !lies_in(mountpoint, repository)) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{}: [repository] path \"{}\" and [view] mountpoint \"{}\" must lie "
                          "outside each other: the view would hide the repository, or stand in it",
                          name, repository.string(), mountpoint.string()));
}

}  // namespace

std::string master_rest_of(const Cache& cache) {
  constexpr std::string_view rest_port = "5009";
  if (!cache.master_rest.empty()) return cache.master_rest;
  return cache.master_data.substr(0, cache.master_data.rfind(':') + 1).append(rest_port);
}

Result<Master> load_master(const std::filesystem::path& file) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_master(text, file.string());
}

Result<Cache> load_cache(const std::filesystem::path& file) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_cache(text, file.string());
}

Result<Master> parse_master(std::string_view text, const std::string& name) {
  ICBD_ASSIGN(Master master, parse<Master>(text, name));
  if (!master.mountpoint.empty()) ICBD_TRY(check_apart(name, master.repository, master.mountpoint));
  return master;
}

Result<Cache> parse_cache(std::string_view text, const std::string& name) {
  ICBD_ASSIGN(Cache cache, parse<Cache>(text, name));
  ICBD_TRY(check_apart(name, cache.repository, cache.mountpoint));
  return cache;
}

}  // namespace icbd::config
