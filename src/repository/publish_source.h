// What a path is that is to be published, and what of it is marked.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "icbd/repository/publish.h"

#include "disk_image.h"

namespace icbd::repository {

enum class SourceKind {
  subvolume,  // on the repository's filesystem: snapshotted
  directory,  // any other: compared with the version before
  disk_image  // a file
};

struct PublishSource {
  SourceKind kind = SourceKind::directory;
  std::filesystem::path path;      // without symlinks
  bool same_filesystem = false;    // as the repository's
  std::optional<DiskImage> image;  // of a disk image

  // "subvolume", "directory", or the disk's format.
  std::string_view name() const;
};

// "cannot publish PATH: …", keeping what the error is.
Error refusal(const std::filesystem::path& path, const Error& error);

// Refuses what is not there, is inside of the repository, or is a file of another kind.
Result<PublishSource> find_source(const Repository& repository, const PublishRequest& request,
                                  const std::atomic<bool>* cancelled);

// Something that clients boot from.
struct Mark {
  std::string inside;                   // its path within the version
  std::filesystem::path outside = {};   // what is copied there; empty: it is in the source
  std::optional<DiskImage> image = {};  // if that is a disk
  bool inherited = false;               // nobody asked: it was marked in the version before
};
struct Marks {
  std::optional<Mark> boot, target;
};

// What the request says, else what `parent` (may be null) had. That what is inside of the source is
// really there is checked when the version is composed: see check_mark().
Result<Marks> plan_marks(const Repository& repository, const PublishSource& source,
                         const PublishRequest& request, const catalog::VersionFacts* parent,
                         const std::atomic<bool>* cancelled);

// Below `root_fd`: a directory, not the root; a file whose size is a multiple of 512. No symlinks.
Status check_boot(int root_fd, const std::string& path);
Status check_target(int root_fd, const std::string& path);

}  // namespace icbd::repository
