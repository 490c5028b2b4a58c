#include "icbd/replicator/gated_source.h"

namespace icbd::replicator {

bool GatedSource::close(std::string why) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  closed_.emplace(ErrorCode::unavailable, std::move(why));
  return true;
}

void GatedSource::open() {
  const std::lock_guard lock(mutex_);
  closed_.reset();
}

std::optional<Error> GatedSource::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

Status GatedSource::shape(const source::ShapeRequest& request, const source::ShapeSink& sink) {
  if (auto why = closed()) return std::unexpected(std::move(*why));
  return source_.shape(request, sink);
}

Result<std::vector<Bytes>> GatedSource::pages(const Digest& manifest,
                                              std::span<const Digest> digests) {
  if (auto why = closed()) return std::unexpected(std::move(*why));
  return source_.pages(manifest, digests);
}

Status GatedSource::extents(const Digest& manifest, std::span<const source::Extent> extents,
                            source::Priority priority,
                            const std::function<Status(const source::ExtentData&)>& received) {
  if (auto why = closed()) return std::unexpected(std::move(*why));
  return source_.extents(manifest, extents, priority, received);
}

Status GatedSource::stream(const source::StreamRequest& request,
                           const std::function<Status(ByteView)>& data) {
  if (auto why = closed()) return std::unexpected(std::move(*why));
  return source_.stream(request, data);
}

Status GatedSource::encoded_extents(const Digest& manifest, std::span<const source::Extent> extents,
                                    const source::EncodedSink& sink) {
  if (auto why = closed()) return std::unexpected(std::move(*why));
  return source_.encoded_extents(manifest, extents, sink);
}

}  // namespace icbd::replicator
