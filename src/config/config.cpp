#include "icbd/config/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"

#include "document.h"

namespace icbd::config {
namespace {

template <typename Configuration>
Result<Configuration> parse(std::string_view text, const std::string& name, Settings settings) {
  Configuration configuration;
  ICBD_TRY(read_document(text, name, settings, keys_of(configuration)));
  return configuration;
}

// Makes `to` what `from` is, if they differ; both are the same key's.
bool copy_value(const Key& from, const Key& to) {
  return std::visit(
      [&](const auto& source) {
        const auto& target = std::get<std::decay_t<decltype(source)>>(to.target);
        if (*source.value == *target.value) return false;
        *target.value = *source.value;
        return true;
      },
      from.target);
}

template <typename Configuration>
Reload<Configuration> plan(const Configuration& running, Configuration read_again) {
  Reload<Configuration> reload{.effective = running, .changed = {}, .deferred = {}};
  Configuration rest = running;  // takes what has to wait, which is forgotten
  const std::vector<Key> from = keys_of(read_again);
  const std::vector<Key> now = keys_of(reload.effective);
  const std::vector<Key> later = keys_of(rest);
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!copy_value(from[i], from[i].reloadable ? now[i] : later[i])) continue;
    (from[i].reloadable ? reload.changed : reload.deferred).push_back(label(from[i]));
  }
  return reload;
}

// `inner` is `outer` or below it.
bool lies_in(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const auto relative = inner.lexically_normal().lexically_relative(outer.lexically_normal());
  return !relative.empty() && *relative.begin() != "..";
}

Status check_apart(const std::string& name, const std::filesystem::path& repository,
                   const std::filesystem::path& mountpoint) {
  if (!lies_in(repository, mountpoint) && !lies_in(mountpoint, repository)) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("{}{}[repository] path \"{}\" and [view] mountpoint \"{}\" must lie "
                  "outside each other: the view would hide the repository, or stand in it",
                  name, name.empty() ? "" : ": ", repository.string(), mountpoint.string()));
}

// Keys of the one that is not followed would be without effect, and somebody thinks otherwise.
Status check_source(const std::string& name, const Cache& cache) {
  const std::string begin = name.empty() ? "" : name + ": ";
  const Cache standard;
  if (!cache.source_url.empty() &&
      (cache.master_data != standard.master_data || cache.master_rest != standard.master_rest ||
       cache.master_repository))
    return fail(ErrorCode::invalid_argument,
                begin + "[source] url and [master] name two sources: a cache has one");
  if (cache.source_remote_command.find_first_not_of(' ') == std::string::npos)
    return fail(ErrorCode::invalid_argument,
                begin + "[source] remote_command must be a command, such as \"sudo btrfs\"");
  return {};
}

}  // namespace

const std::string& source_of(const Cache& cache) {
  return cache.source_url.empty() ? cache.master_data : cache.source_url;
}

std::string master_rest_of(const Cache& cache) {
  constexpr std::string_view rest_port = "5009";
  if (!cache.master_rest.empty()) return cache.master_rest;
  return cache.master_data.substr(0, cache.master_data.rfind(':') + 1).append(rest_port);
}

Result<Setting> parse_setting(std::string_view text) {
  const std::size_t equals = text.find('=');
  const bool printable = std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
  std::string name = "--set " + (printable ? std::string(text) : quote(text));
  if (equals == std::string_view::npos || equals == 0)
    return fail(ErrorCode::invalid_argument,
                "--set " + quote(text) + ": must be TABLE.KEY=VALUE, such as fetch.fill=never");
  return Setting{.key = std::string(text.substr(0, equals)),
                 .value = std::string(text.substr(equals + 1)),
                 .name = std::move(name)};
}

Result<std::string> read_text(const std::filesystem::path& file) {
  if (file.empty()) return std::string();
  const auto content = icbd::read_file(file, text_length_max);
  if (!content) return std::unexpected(content.error().with_context("configuration"));
  return std::string(as_text(*content));
}

Result<Master> load_master(const std::filesystem::path& file, Settings settings) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_master(text, file.string(), settings);
}

Result<Cache> load_cache(const std::filesystem::path& file, Settings settings) {
  ICBD_ASSIGN(const std::string text, read_text(file));
  return parse_cache(text, file.string(), settings);
}

Result<Master> parse_master(std::string_view text, const std::string& name, Settings settings) {
  ICBD_ASSIGN(Master master, parse<Master>(text, name, settings));
  if (!master.mountpoint.empty()) ICBD_TRY(check_apart(name, master.repository, master.mountpoint));
  return master;
}

Reload<Master> plan_reload(const Master& running, const Master& read_again) {
  return plan(running, read_again);
}

Reload<Cache> plan_reload(const Cache& running, const Cache& read_again) {
  return plan(running, read_again);
}

Result<Cache> parse_cache(std::string_view text, const std::string& name, Settings settings) {
  ICBD_ASSIGN(Cache cache, parse<Cache>(text, name, settings));
  ICBD_TRY(check_apart(name, cache.repository, cache.mountpoint));
  ICBD_TRY(check_source(name, cache));
  return cache;
}

Result<Continuation> continue_cache(const KeptTexts& kept, const std::filesystem::path& file,
                                    Settings settings) {
  const std::string kept_name = fmt::format("{}, as it was before", file.string());
  ICBD_ASSIGN(const Cache first, parse_cache(kept.first, kept_name, settings));
  auto text = read_text(file);
  auto now = text ? parse_cache(*text, file.string(), settings)
                  : Result<Cache>(std::unexpected(text.error()));
  std::optional<Error> error;
  if (!now) {
    error = std::move(now).error();
    text = kept.last;
    now = parse_cache(kept.last, kept_name, settings);
    ICBD_TRY(now);
  }
  Reload<Cache> plan = plan_reload(first, *now);
  return Continuation{.configuration = std::move(plan.effective),
                      .last = std::move(*text),
                      .deferred = std::move(plan.deferred),
                      .error = std::move(error)};
}

}  // namespace icbd::config
