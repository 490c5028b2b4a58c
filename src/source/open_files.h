// Files of one version, opened when they are read and kept open for a while.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "icbd/base/error.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"

namespace icbd::source {

// A file, twice: through the page cache and past it.
struct OpenFile {
  std::shared_ptr<const unique_fd> cached;
  std::shared_ptr<const unique_fd> direct;  // null if it was not asked for, or cannot be had
};

// Thread-safe. Keeps the `capacity` most recently used; a file that is being read stays open as
// long as its reader holds it. The root directory must outlive it.
class OpenFiles {
 public:
  OpenFiles(int root_fd, std::size_t capacity) : root_fd_(root_fd), capacity_(capacity) {}

  // `path` is below the root; no symlink is followed and no other filesystem entered.
  // `direct` only where it is wanted: it costs a second open(2).
  Result<OpenFile> open(FileIndex file, const std::string& path, bool direct);

 private:
  using Entry = std::pair<FileIndex, OpenFile>;

  int root_fd_;
  std::size_t capacity_;
  std::mutex mutex_;
  std::list<Entry> files_;  // most recently used first
  std::unordered_map<FileIndex, std::list<Entry>::iterator> places_;
};

}  // namespace icbd::source
