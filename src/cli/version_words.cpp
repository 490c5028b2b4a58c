#include "version_words.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/quote.h"
#include "icbd/catalog/names.h"

namespace icbd::cli {

std::string VersionWords::path(std::string_view below) const {
  return fmt::format("/api/images/{}/versions/{}{}", image, version, below);
}

bool VersionWords::is_number() const {
  return std::ranges::all_of(version, [](char c) { return c >= '0' && c <= '9'; });
}

Result<VersionWords> parse_version_words(std::string_view text, Bare bare) {
  const std::size_t at = text.find('@');
  VersionWords words{.image = std::string(text.substr(0, at)),
                     .version = std::string(catalog::latest_word)};
  if (at == std::string_view::npos && bare == Bare::refused)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} names no version: write IMAGE@V, where V is a number, a tag, "
                            "latest or current",
                            quote(text)));
  ICBD_TRY(catalog::check_image_name(words.image));
  if (at == std::string_view::npos) return words;
  words.version = text.substr(at + 1);
  if (words.version == catalog::latest_word) return words;
  if (words.version.empty() || words.is_number())
    ICBD_TRY(catalog::parse_version_number(words.version));
  else
    ICBD_TRY(catalog::check_tag_name(words.version));
  return words;
}

}  // namespace icbd::cli
