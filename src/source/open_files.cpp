#include "open_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace icbd::source {
namespace {

// The paths come from a manifest that this node wrote itself; all the same, a version is not a
// place from where the rest of the system can be read.
Result<unique_fd> open_beneath(int root_fd, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<unsigned>(O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const long fd = syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how);
  if (fd < 0) return fail_errno(fmt::format("open \"{}\"", path));
  return unique_fd(static_cast<int>(fd));
}

}  // namespace

Result<OpenFile> OpenFiles::open(FileIndex file, const std::string& path, bool direct) {
  const std::lock_guard lock(mutex_);
  if (const auto place = places_.find(file); place != places_.end()) {
    files_.splice(files_.begin(), files_, place->second);
    return place->second->second;
  }
  ICBD_ASSIGN(auto cached, open_beneath(root_fd_, path, 0));
  OpenFile opened{.cached = std::make_shared<const unique_fd>(std::move(cached)),
                  .direct = nullptr};
  if (direct) {
    // EINVAL where the filesystem has no O_DIRECT.
    if (auto past_cache = open_beneath(root_fd_, path, O_DIRECT))
      opened.direct = std::make_shared<const unique_fd>(std::move(*past_cache));
  }
  if (files_.size() >= capacity_) {
    places_.erase(files_.back().first);
    files_.pop_back();
  }
  files_.emplace_front(file, opened);
  places_[file] = files_.begin();
  return opened;
}

}  // namespace icbd::source
