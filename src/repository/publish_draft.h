// What a publication leaves on disk before it is committed.
//
// Lifecycle: begin_as() or begin_empty(), then the subvolume is written to through root_fd(), then
// seal(), or take() instead of all that; then keep() and rename_into_place(). The destructor
// removes everything unless keep() was called; after a kill recovery does it, by the hidden name.
#pragma once

#include <filesystem>
#include <string>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/base/types.h"
#include "icbd/base/unique_fd.h"
#include "icbd/repository/repository.h"

#include "layout.h"

namespace icbd::repository {

class Draft {
 public:
  Draft(Repository& repository, std::string image, VersionNumber number);
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft();

  // A writable snapshot: one that was never writable would keep the received UUID of its source.
  Status begin_as(const std::filesystem::path& subvolume);
  Status begin_empty();
  // There is a read-only subvolume at path(): somebody else has made it there.
  Status take();
  Status seal();  // read-only from now on

  int root_fd() const { return root_.get(); }
  std::filesystem::path path() const { return layout_.publishing(image_, number_); }
  std::filesystem::path facts() const { return layout_.facts(image_, number_); }
  void keep() { kept_ = true; }
  Status rename_into_place();

 private:
  void remove_directories() const;
  std::filesystem::path manifest() const { return layout_.manifest(image_, number_); }

  Layout layout_;
  Logger logger_;
  std::string image_;
  VersionNumber number_;
  unique_fd root_;
  bool kept_ = false;
};

}  // namespace icbd::repository
