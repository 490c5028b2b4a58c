// A Source over a repository on this node: what a master serves to its caches.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "icbd/repository/repository.h"
#include "icbd/source/source.h"
#include "icbd/uring/queue.h"

namespace icbd::source {

class DiskReader;
class StretchBuffers;
struct ReadBy;

// The repository must outlive it. Thread-safe. Keeps the most recently used versions open: their
// root, entries and files, within a bound. What nobody waits for is read past the page cache, four
// stretches of a request at a time. Who goes first is decided by whoever queues requests before it.
class RepositorySource final : public Source {
 public:
  // `reads`: what of io_uring is used.
  explicit RepositorySource(repository::Repository& repository,
                            const uring::QueueOptions& reads = {});
  ~RepositorySource() override;

  Result<std::optional<CatalogSnapshot>> catalog(const std::optional<KnownCatalog>& known) override;
  Status shape(const ShapeRequest& request, const ShapeSink& sink) override;
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override;
  Status extents(const Digest& manifest, std::span<const Extent> extents, Priority priority,
                 const std::function<Status(const ExtentData&)>& received) override;
  Status stream(const StreamRequest& request, const std::function<Status(ByteView)>& data) override;
  Status encoded_extents(const Digest& manifest, std::span<const Extent> extents,
                         const EncodedSink& sink) override;
  Result<std::uint64_t> extent_border(const Digest& manifest, FileIndex file,
                                      std::uint64_t offset) override;

  // For the log: "io_uring", or what there is instead, and why.
  std::string reads_with() const;

 private:
  class OpenVersion;
  Result<std::shared_ptr<OpenVersion>> open(const Digest& manifest);
  // Null if it is not; with mutex_ held.
  std::shared_ptr<OpenVersion> find_open(const Digest& manifest);
  ReadBy read_by(OpenVersion& version, Priority priority);

  repository::Repository& repository_;
  const Uuid session_ = Uuid::random();
  std::unique_ptr<StretchBuffers> buffers_;
  std::unique_ptr<DiskReader> disk_;  // null if it cannot be had
  std::mutex mutex_;
  std::list<std::shared_ptr<OpenVersion>> open_;  // most recently used first; guarded by mutex_
};

}  // namespace icbd::source
