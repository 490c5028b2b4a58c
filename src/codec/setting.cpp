#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

#include "icbd/base/closest.h"
#include "icbd/base/quote.h"
#include "icbd/codec/codec.h"

#include "algorithms.h"

namespace icbd::codec {
namespace {

constexpr std::array<std::string_view, 5> names = {"none", "lz4", "snappy", "zlib", "zstd"};

constexpr std::string_view allowed =
    "none, lz4, lz4:3 to lz4:12, snappy, zlib, zlib:1 to zlib:9, zstd, zstd:-7 to zstd:-1, zstd:1 "
    "to zstd:19";

std::unexpected<Error> refused(std::string_view text, std::string_view name) {
  const std::string_view meant = closest(name, names);
  const std::string hint =
      meant.empty() || meant == name ? "" : fmt::format("; did you mean {}?", meant);
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is no compression; there are {}{}", quote(text), allowed, hint));
}

std::optional<Algorithm> find(std::string_view name) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names.at(i) == name) return static_cast<Algorithm>(i);
  return std::nullopt;
}

}  // namespace

Levels levels(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::lz4:
      return {.first = 3, .last = 12};  // LZ4HC_CLEVEL_MIN, LZ4HC_CLEVEL_MAX (lz4hc.h)
    case Algorithm::zlib:
      return {.first = 1, .last = 9};
    case Algorithm::zstd:
      return {.first = -7, .last = 19};  // as its command line has them without --ultra
    case Algorithm::none:
    case Algorithm::snappy:
      break;
  }
  return {};
}

std::string_view to_string(Algorithm algorithm) {
  const auto index = static_cast<std::size_t>(algorithm);
  return index < names.size() ? names.at(index) : "unknown";
}

Result<Algorithm> parse_algorithm(std::uint8_t byte) {
  if (byte < names.size()) return static_cast<Algorithm>(byte);
  return fail(ErrorCode::unsupported,
              fmt::format("codec {}; this release knows 0 to {}", byte, names.size() - 1));
}

Result<Setting> parse_setting(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto algorithm = find(name);
  if (!algorithm) return refused(text, name);
  if (colon == std::string_view::npos) return Setting{.algorithm = *algorithm};
  const std::string_view number = text.substr(colon + 1);
  int level = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), level);
  const Levels range = levels(*algorithm);
  const bool is_level = error == std::errc{} && end == number.data() + number.size() &&
                        level != 0 && level >= range.first && level <= range.last;
  if (!is_level) return refused(text, name);
  return Setting{.algorithm = *algorithm, .level = level};
}

std::string to_string(Setting setting) {
  if (setting.level == 0) return std::string(to_string(setting.algorithm));
  return fmt::format("{}:{}", to_string(setting.algorithm), setting.level);
}

}  // namespace icbd::codec
