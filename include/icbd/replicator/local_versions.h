// Complete versions that are open: their subvolume, manifest and entries.
//
// Purpose: the parent of the next shape, and where equal chunks are looked for. Opening one reads
// and verifies its whole manifest, which a reader of the next version should not wait for: so the
// last few stay open.
// Thread-safe. Memory: about 300 bytes per entry of each version that is kept.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "icbd/catalog/catalog.h"
#include "icbd/manifest/page_store.h"
#include "icbd/replicator/staging.h"
#include "icbd/repository/repository.h"

namespace icbd::replicator {

struct LocalVersion;

// The inode of each entry of a complete version: known, or found by walking its names when they are
// first asked for. Thread-safe.
class EntryInodes {
 public:
  EntryInodes() = default;
  explicit EntryInodes(std::vector<InodeNumber> known) : inodes_(std::move(known)) {}

  // Valid as long as this is. `corrupt` if the version's names are not those of its entries.
  Result<std::span<const InodeNumber>> of(const LocalVersion& version);

 private:
  std::mutex mutex_;
  std::vector<InodeNumber> inodes_;  // guarded by mutex_ while empty, then it does not change
};

// A complete version whose bytes and pages may be used. Immutable.
struct LocalVersion {
  catalog::Version version;
  Staging subvolume;
  std::shared_ptr<manifest::FilePageStore> pages;
  std::vector<manifest::Entry> entries;
  manifest::Reader reader;  // over `pages`
  std::shared_ptr<EntryInodes> inodes = std::make_shared<EntryInodes>();
};

class Content;

class LocalVersions {
 public:
  // The repository must outlive it.
  explicit LocalVersions(repository::Repository& repository) : repository_(repository) {}

  // From those that are open, or opens it.
  Result<std::shared_ptr<const LocalVersion>> open(const catalog::Version& version);
  // The same, but it is not kept for others.
  Result<std::shared_ptr<const LocalVersion>> open_once(const catalog::Version& version);
  // What has just become complete, from what its arrival knows: nothing is read again.
  Status add(const catalog::Version& version, const Content& arrived);
  // Whoever has it keeps it; from now on it is opened anew.
  void forget(VersionSerial serial);

 private:
  // Null if it is not open.
  std::shared_ptr<const LocalVersion> find(VersionSerial serial);
  void keep(std::shared_ptr<const LocalVersion> local);

  repository::Repository& repository_;
  std::mutex mutex_;                                       // guards recent_
  std::list<std::shared_ptr<const LocalVersion>> recent_;  // most recently used first
};

}  // namespace icbd::replicator
