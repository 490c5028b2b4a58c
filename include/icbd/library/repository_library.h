// The view of a repository alone: what is complete in it. What a master shows.
//
// Thread-safe. The repository must outlive it.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "icbd/library/image_table.h"
#include "icbd/replicator/staging.h"
#include "icbd/repository/repository.h"

namespace icbd::library {

class RepositoryLibrary final : public fs::Library {
 public:
  explicit RepositoryLibrary(repository::Repository& repository)
      : repository_(repository), table_(repository.catalog()) {}

  std::shared_ptr<const Images> images() override;
  std::optional<fs::VersionEntry> version(VersionSerial serial) override;
  std::shared_ptr<fs::Tree> tree(VersionSerial serial) override;
  void prepare(VersionSerial serial, TreeDone done) override;
  Result<struct statvfs> space() override;

 private:
  Status refresh();
  Result<std::shared_ptr<fs::Tree>> open(VersionSerial serial);

  repository::Repository& repository_;
  ImageTable table_;
  std::mutex mutex_;                 // guards what is below
  std::uint64_t change_number_ = 0;  // that it was made of
  std::shared_ptr<const Images> images_ = std::make_shared<const Images>();
  std::unordered_map<VersionSerial, catalog::Version> versions_;
  std::unordered_map<VersionSerial, std::shared_ptr<fs::Tree>> open_;
};

}  // namespace icbd::library
