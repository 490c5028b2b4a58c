// A folder of a test's own, below $TMPDIR or /tmp.
#pragma once

#include <filesystem>
#include <string>

#include "icbd/base/error.h"

namespace icbd::harness {

// Lifecycle: made by create(), removed with all that is in it by the destructor, never across a
// mount point. Move-only.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> create();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&& other) noexcept;
  ~TemporaryDirectory();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  void remove() noexcept;

  std::filesystem::path path_;
};

}  // namespace icbd::harness
