#include "target.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

namespace icbd::rest {
namespace {

std::unexpected<Error> malformed(std::string_view text, std::string_view why) {
  return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" {}", text, why));
}

// Both digits, or nothing: from_chars alone would take a sign or a single digit.
bool decode_byte(std::string_view digits, char& byte) {
  std::uint8_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  byte = static_cast<char>(value);
  return digits.size() == 2 && error == std::errc{} && end == digits.data() + digits.size();
}

Result<std::string> decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char byte = text[i];
    if (byte == '+' && plus_is_space) byte = ' ';
    if (text[i] == '%') {
      if (!decode_byte(text.substr(i + 1, 2), byte))
        return malformed(text, "has a % without two hexadecimal digits");
      i += 2;
    }
    if (byte == '\0') return malformed(text, "has a zero byte");
    decoded.push_back(byte);
  }
  return decoded;
}

Result<std::string> decode_segment(std::string_view text) {
  ICBD_ASSIGN(std::string segment, decode(text, false));
  if (segment.empty() || segment == "." || segment == ".." || segment.contains('/'))
    return malformed(text, "cannot be a part of a path");
  return segment;
}

// Calls `each` for the parts between separators; an empty text has none.
template <typename Each>
Status split(std::string_view text, char separator, Each each) {
  while (!text.empty()) {
    const std::size_t end = text.find(separator);
    ICBD_TRY(each(text.substr(0, end)));
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
    if (text.empty()) return each(text);
  }
  return {};
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
  if (!text.starts_with('/')) return malformed(text, "does not begin with /");
  const std::size_t mark = text.find('?');
  Target target;
  ICBD_TRY(split(text.substr(1, mark == std::string_view::npos ? mark : mark - 1), '/',
                 [&](std::string_view part) -> Status {
                   ICBD_ASSIGN(auto segment, decode_segment(part));
                   target.path.push_back(std::move(segment));
                   return {};
                 }));
  if (mark == std::string_view::npos) return target;
  ICBD_TRY(split(text.substr(mark + 1), '&', [&](std::string_view part) -> Status {
    const std::size_t equals = part.find('=');
    ICBD_ASSIGN(auto key, decode(part.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) {
      ICBD_ASSIGN(value, decode(part.substr(equals + 1), true));
    }
    target.query.emplace_back(std::move(key), std::move(value));
    return {};
  }));
  return target;
}

Result<BaseUrl> parse_base_url(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  if (text.starts_with("https://"))
    return fail(ErrorCode::unsupported,
                fmt::format("{}: https is not supported yet; use http over a tunnel", text));
  if (!text.starts_with(scheme))
    return malformed(text, "is not a server's address: write http://HOST:PORT");
  std::string_view rest = text.substr(scheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  BaseUrl url{.host = {}, .port = "80"};
  const std::size_t bracket = rest.find(']');
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    url.port = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  url.host = rest;
  std::uint16_t number = 0;
  const char* const port_end = url.port.data() + url.port.size();
  const auto [end, error] = std::from_chars(url.port.data(), port_end, number);
  if (url.host.empty() || url.host.find_first_of("/?#@[]") != std::string::npos ||
      error != std::errc{} || end != port_end)
    return malformed(text, "is not a server's address: write http://HOST:PORT");
  return url;
}

}  // namespace icbd::rest
