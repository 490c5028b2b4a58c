// The source of a cache that is brought whole versions by somebody else: there is nothing to
// follow, and nothing to fetch in parts.
#pragma once

#include "icbd/source/source.h"

namespace icbd::cache {

// Thread-safe.
class NoSource final : public source::Source {
 public:
  Result<std::optional<source::CatalogSnapshot>> catalog(
      const std::optional<source::KnownCatalog>&) override {
    return std::nullopt;
  }
  Status shape(const source::ShapeRequest&, const source::ShapeSink&) override {
    return nothing_in_parts();
  }
  Result<std::vector<Bytes>> pages(const Digest&, std::span<const Digest>) override {
    return nothing_in_parts();
  }
  Status extents(const Digest&, std::span<const source::Extent>, source::Priority,
                 const std::function<Status(const source::ExtentData&)>&) override {
    return nothing_in_parts();
  }

 private:
  static std::unexpected<Error> nothing_in_parts() {
    return fail(ErrorCode::unsupported,
                "versions of a machine without icbd come as a whole: icbd pull, or a subscription");
  }
};

}  // namespace icbd::cache
