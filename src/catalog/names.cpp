#include "icbd/catalog/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "icbd/base/limits.h"
#include "icbd/base/quote.h"

namespace icbd::catalog {
namespace {

// Words that stand for a version or a directory of the view's own.
constexpr std::array<std::string_view, 2> reserved_names = {latest_word, current_word};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

// What is printed of a refused name: enough to recognise it, whatever came in.
std::string excerpt(std::string_view text) {
  constexpr std::size_t length_max = limits::image_name_length + 20;
  if (text.size() <= length_max) return quote(text);
  return quote(text.substr(0, length_max)) + "…";
}

std::unexpected<Error> refuse_name(std::string_view name, std::string_view what,
                                   std::string_view reason) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} cannot name {}: {}", excerpt(name), what, reason));
}

Status check_name(std::string_view name, std::string_view what) {
  if (name.empty()) return refuse_name(name, what, "it is empty");
  if (name.size() > limits::image_name_length)
    return refuse_name(name, what,
                       fmt::format("it has {} characters, and {} are allowed", name.size(),
                                   limits::image_name_length));
  if (!std::ranges::all_of(name, is_name_character))
    return refuse_name(name, what, "only A-Z, a-z, 0-9, \".\", \"_\" and \"-\" are allowed");
  if (name.front() == '.' || name.front() == '-')
    return refuse_name(name, what, "it begins with \".\" or \"-\"");
  return {};
}

}  // namespace

Status check_image_name(std::string_view name) {
  ICBD_TRY(check_name(name, "an image"));
  if (std::ranges::find(reserved_names, name) != reserved_names.end())
    return refuse_name(name, "an image", "the word is reserved");
  return {};
}

Status check_tag_name(std::string_view name) {
  ICBD_TRY(check_name(name, "a tag"));
  if (name == latest_word)
    return refuse_name(name, "a tag", "it stands for the version with the highest number");
  if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
    return refuse_name(name, "a tag", "it would be a version's number");
  return {};
}

Status check_marked_path(std::string_view path) {
  if (path.empty()) return {};
  bool fits = path.size() <= limits::path_length && !path.contains('\0');
  for (std::string_view rest = path; fits && !rest.empty();) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view name = rest.substr(0, slash);
    fits = !name.empty() && name != "." && name != ".." && name.size() <= limits::name_length &&
           slash + 1 != rest.size();
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  if (fits) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is no path within a version", excerpt(path)));
}

Result<VersionName> parse_version_name(std::string_view text) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos)
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{} is no version: write IMAGE@NUMBER, for example win11@3", excerpt(text)));
  const std::string_view image = text.substr(0, at);
  ICBD_TRY(check_image_name(image));
  ICBD_ASSIGN(const VersionNumber number, parse_version_number(text.substr(at + 1)));
  return VersionName{std::string(image), number};
}

Result<VersionNumber> parse_version_number(std::string_view text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end || number == 0 || text.front() == '0')
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is no version number: it is 1 to {}, without leading zeros",
                            excerpt(text), UINT32_MAX));
  return VersionNumber(number);
}

}  // namespace icbd::catalog
