// A Source over a repository on this node: what a master serves to its caches.
#pragma once

#include <list>
#include <memory>
#include <mutex>

#include "icbd/repository/repository.h"
#include "icbd/source/source.h"

namespace icbd::source {

class DiskReader;

// The repository must outlive it. Thread-safe. Keeps the most recently used versions open: their
// root, entries and files, within a bound. What nobody waits for is read past the page cache, four
// stretches of a request at a time. Who goes first is decided by whoever queues requests before it.
class RepositorySource final : public Source {
 public:
  explicit RepositorySource(repository::Repository& repository);
  ~RepositorySource() override;

  Result<std::optional<CatalogSnapshot>> catalog(const std::optional<KnownCatalog>& known) override;
  Status shape(const ShapeRequest& request, const ShapeSink& sink) override;
  Result<std::vector<Bytes>> pages(const Digest& manifest,
                                   std::span<const Digest> digests) override;
  Status extents(const Digest& manifest, std::span<const Extent> extents, Priority priority,
                 const std::function<Status(const ExtentData&)>& received) override;

 private:
  class OpenVersion;
  Result<std::shared_ptr<OpenVersion>> open(const Digest& manifest);
  DiskReader* disk();
  // Null if it is not; with mutex_ held.
  std::shared_ptr<OpenVersion> find_open(const Digest& manifest);

  repository::Repository& repository_;
  const Uuid session_ = Uuid::random();
  std::mutex mutex_;
  // Guarded by mutex_:
  std::list<std::shared_ptr<OpenVersion>> open_;  // most recently used first
  std::unique_ptr<DiskReader> disk_;
  bool disk_tried_ = false;
};

}  // namespace icbd::source
