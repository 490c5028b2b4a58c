#include "icbd/catalog/find_version.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/catalog/names.h"

namespace icbd::catalog {
namespace {

const Version* with_number(std::span<const Version> versions, VersionNumber number) {
  const auto found = std::ranges::find(versions, number,
                                       [](const Version& version) { return version.facts.number; });
  return found == versions.end() ? nullptr : &*found;
}

bool is_number(std::string_view word) {
  return std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<const Version*> find_version(std::span<const Version> versions, std::span<const Tag> tags,
                                    const std::string& image, std::string_view word) {
  if (word == latest_word) {
    if (!versions.empty()) return &versions.back();
    return fail(ErrorCode::not_found, fmt::format("image {} has no version yet", image));
  }
  if (is_number(word)) {
    ICBD_ASSIGN(const VersionNumber number, parse_version_number(word));
    if (const Version* found = with_number(versions, number)) return found;
    return fail(ErrorCode::not_found, fmt::format("there is no version {}@{}", image, word));
  }
  ICBD_TRY(check_tag_name(word));
  const auto tag = std::ranges::find_if(
      tags, [&](const Tag& known) { return known.image == image && known.name == word; });
  if (tag != tags.end())
    if (const Version* found = with_number(versions, tag->number)) return found;
  if (word == current_word) return find_version(versions, tags, image, latest_word);
  return fail(ErrorCode::not_found, fmt::format("image {} has no tag \"{}\"", image, word));
}

}  // namespace icbd::catalog
