// A source that can be known to be away.
//
// Purpose: while the gate is closed, everything but catalog() fails `unavailable` at once, with the
// reason it was closed for: a reader need not wait for the timeout of a connection that nobody
// expects to come up. catalog() goes through, because it is how the return is noticed.
// Lifecycle: open at first. The source must outlive it. Thread-safe. Calls that are under way when
// the gate is closed are not interrupted.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "icbd/source/source.h"

namespace icbd::replicator {

class GatedSource final : public source::Source {
 public:
  explicit GatedSource(source::Source& source) : source_(source) {}

  // Returns whether it was open.
  bool close(std::string why);
  void open();
  // Why it is closed.
  std::optional<Error> closed() const;

  Result<std::optional<source::CatalogSnapshot>> catalog(
      const std::optional<source::KnownCatalog>& known) override {
    return source_.catalog(known);
  }
  Status shape(const source::ShapeRequest& request, const source::ShapeSink& sink) override;
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override;
  Status extents(const Digest& manifest, std::span<const source::Extent> extents,
                 source::Priority priority,
                 const std::function<Status(const source::ExtentData&)>& received) override;
  Status stream(const source::StreamRequest& request,
                const std::function<Status(ByteView)>& data) override;
  Status encoded_extents(const Digest& manifest, std::span<const source::Extent> extents,
                         const source::EncodedSink& sink) override;

 private:
  source::Source& source_;
  mutable std::mutex mutex_;
  std::optional<Error> closed_;
};

}  // namespace icbd::replicator
