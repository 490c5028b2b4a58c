// Page stores: in memory, and in one append-only file per version.
//
// File format: the 8 bytes "icbdman1", then records of u32 length and page bytes. Pages are named
// by their digest alone, so a torn last record is cut off at open and nothing else is trusted.
// Guarantees: thread-safe. FilePageStore::sync() makes everything added before it durable. While
// the disk is full, pages that are added stay in memory, so that readers can be served; sync()
// writes them, or fails with no_space.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "icbd/base/unique_fd.h"
#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

class MemoryPageStore final : public PageStore {
 public:
  Result<Bytes> find(const Digest& digest) const override;
  bool contains(const Digest& digest) const override;
  Result<Digest> add(ByteView page) override;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Digest, Bytes> pages_;
};

class FilePageStore final : public PageStore {
 public:
  // Opens for reading and appending; makes the file (mode 0600) if `create`.
  static Result<std::unique_ptr<FilePageStore>> open(const std::filesystem::path& path,
                                                     bool create);
  // For looking only: a torn record is left where it is, and add() fails.
  static Result<std::unique_ptr<FilePageStore>> open_read_only(const std::filesystem::path& path);

  Result<Bytes> find(const Digest& digest) const override;
  bool contains(const Digest& digest) const override;
  Result<Digest> add(ByteView page) override;
  Status sync();

 private:
  struct Place {
    std::uint64_t offset;
    std::uint32_t length;
  };
  FilePageStore(std::filesystem::path path, unique_fd file);
  Status load(std::uint64_t size);
  Status load_magic(std::uint64_t size);
  Status cut_off_torn_record(std::uint64_t size);
  Status write_record(const Digest& digest, ByteView page);
  Status write_unsaved();
  // Takes in the record at end_ and returns its page's length; 0 if the records end there.
  Result<std::uint32_t> load_record(std::uint64_t size);

  std::filesystem::path path_;
  unique_fd file_;
  mutable std::mutex mutex_;
  std::unordered_map<Digest, Place> places_;
  std::unordered_map<Digest, Bytes> unsaved_;  // there was no room for them
  std::uint64_t end_ = 0;
  std::atomic<bool> written_since_sync_ = true;
  std::atomic<bool> name_is_durable_ = true;  // false after the file was made, until sync()
};

}  // namespace icbd::manifest
