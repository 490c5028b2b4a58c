#include "take_pages.h"

#include <fmt/format.h>

#include <algorithm>

namespace icbd::replicator {

Status take_pages(manifest::PageStore& pages, const Digest& manifest,
                  std::span<const Digest> wanted, const manifest::PageStore* parent,
                  source::Source& source) {
  std::vector<Digest> remote;
  for (const Digest& digest : wanted) {
    if (pages.contains(digest)) continue;
    if (parent != nullptr && parent->contains(digest)) {
      ICBD_ASSIGN(const Bytes page, parent->find(digest));
      ICBD_TRY(pages.add(page));
    } else {
      remote.push_back(digest);
    }
  }
  for (std::size_t at = 0; at < remote.size(); at += limits::pages_per_request) {
    const auto part =
        std::span(remote).subspan(at, std::min(limits::pages_per_request, remote.size() - at));
    ICBD_ASSIGN(const std::vector<Bytes> bytes, source.pages(manifest, part));
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (i >= bytes.size() || sha256(bytes[i]) != part[i])
        return fail(ErrorCode::corrupt,
                    fmt::format("the source sent a wrong manifest page for {} (transport or "
                                "its disk damaged it)",
                                part[i].to_string()));
      ICBD_TRY(pages.add(bytes[i]));
    }
  }
  return {};
}

}  // namespace icbd::replicator
