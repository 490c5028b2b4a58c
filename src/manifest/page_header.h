// The two bytes that every page begins with, so that a page of one kind is never read as another.
#pragma once

#include <fmt/format.h>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::manifest {

enum class PageKind : std::uint8_t { root = 1, metadata = 2, digests = 3 };

inline constexpr std::uint8_t format_version = 1;

inline std::string_view to_string(PageKind kind) {
  switch (kind) {
    case PageKind::root:
      return "manifest root";
    case PageKind::metadata:
      return "metadata page";
    case PageKind::digests:
      return "digest page";
  }
  return "page";
}

inline std::unexpected<Error> corrupt(PageKind kind, std::string_view reason) {
  return fail(ErrorCode::corrupt, fmt::format("{}: {}", to_string(kind), reason));
}

inline void write_page_header(ByteWriter& writer, PageKind kind) {
  writer.write(static_cast<std::uint8_t>(kind));
  writer.write(format_version);
}

inline Status read_page_header(ByteReader& reader, PageKind kind) {
  const auto found_kind = reader.read<std::uint8_t>();
  const auto found_version = reader.read<std::uint8_t>();
  if (reader.failed()) return corrupt(kind, "cut short");
  if (found_kind != static_cast<std::uint8_t>(kind))
    return corrupt(kind, fmt::format("a page of another kind ({})", found_kind));
  if (found_version != format_version)
    return corrupt(kind, fmt::format("format version {}, but this release reads {}", found_version,
                                     format_version));
  return {};
}

}  // namespace icbd::manifest
