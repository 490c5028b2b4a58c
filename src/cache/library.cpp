#include "library.h"

#include "icbd/library/complete_tree.h"

#include "arriving_tree.h"

namespace icbd::cache {

std::shared_ptr<const fs::Library::Images> CacheLibrary::images() {
  const auto table = replicator_.versions();
  const std::lock_guard lock(mutex_);
  if (table == table_) return images_;
  images_ = std::make_shared<const Images>(
      image_table_.make(table->images, table->versions, table->tags));
  table_ = table;
  return images_;
}

std::optional<fs::VersionEntry> CacheLibrary::version(VersionSerial serial) {
  const auto found = replicator_.find(serial);
  if (!found) return std::nullopt;
  return library::describe(*found);
}

std::shared_ptr<fs::Tree> CacheLibrary::tree_of(
    std::shared_ptr<const replicator::OpenedVersion> opened) {
  if (!opened) return nullptr;
  if (opened->arrival)
    return std::make_shared<ArrivingTree>(
        opened->arrival, [replicator = &replicator_, arrival = opened->arrival.get()](
                             std::uint64_t bytes) { replicator->note_read(*arrival, bytes); });
  const replicator::Staging& subvolume = *opened->complete;
  const std::uint64_t generation = opened->version.generation;
  const VersionSerial serial = opened->version.serial;
  return std::make_shared<library::CompleteTree>(
      std::move(opened), subvolume, generation,
      [replicator = &replicator_, serial] { replicator->look_after(serial); });
}

std::shared_ptr<fs::Tree> CacheLibrary::tree(VersionSerial serial) {
  return tree_of(replicator_.opened(serial));
}

void CacheLibrary::prepare(VersionSerial serial, TreeDone done) {
  if (replicator_.fill_policy() == replicator::FillPolicy::never) {
    if (auto here = tree(serial)) return done(std::move(here));
    return done(fail(ErrorCode::io, "the version is not here, and fetch.fill is \"never\""));
  }
  replicator_.open(serial, [this, done = std::move(done)](
                               Result<std::shared_ptr<const replicator::OpenedVersion>> opened) {
    if (opened)
      done(tree_of(std::move(*opened)));
    else
      done(std::unexpected(opened.error()));
  });
}

Result<struct statvfs> CacheLibrary::space() {
  struct statvfs space{};
  if (::fstatvfs(repository_.directory_fd(), &space) != 0) return fail_errno("statvfs");
  return space;
}

}  // namespace icbd::cache
