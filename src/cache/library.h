// What the view shows, answered from the replicator.
#pragma once

#include <memory>
#include <mutex>

#include "icbd/library/image_table.h"
#include "icbd/replicator/replicator.h"
#include "icbd/repository/repository.h"

namespace icbd::cache {

// Thread-safe. Repository and replicator must outlive it.
class CacheLibrary final : public fs::Library {
 public:
  CacheLibrary(repository::Repository& repository, replicator::Replicator& replicator)
      : repository_(repository), replicator_(replicator), image_table_(repository.catalog()) {}

  std::shared_ptr<const Images> images() override;
  std::optional<fs::VersionEntry> version(VersionSerial serial) override;
  std::shared_ptr<fs::Tree> tree(VersionSerial serial) override;
  void prepare(VersionSerial serial, TreeDone done) override;
  Result<struct statvfs> space() override;

 private:
  std::shared_ptr<fs::Tree> tree_of(std::shared_ptr<const replicator::OpenedVersion> opened);

  repository::Repository& repository_;
  replicator::Replicator& replicator_;
  library::ImageTable image_table_;
  std::mutex mutex_;                                       // guards what is below
  std::shared_ptr<const replicator::VersionTable> table_;  // that images_ was made of
  std::shared_ptr<const Images> images_;
};

}  // namespace icbd::cache
