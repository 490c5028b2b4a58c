#include "directory_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "filesystem_type.h"

namespace icbd::repository {

Result<std::filesystem::path> find_directory(const std::filesystem::path& directory) {
  std::error_code error;
  auto found = std::filesystem::canonical(directory, error);
  if (error) return fail_errno(fmt::format("repository {}", directory.string()), error.value());
  ICBD_ASSIGN(const bool btrfs, btrfs::is_btrfs(found));
  if (!btrfs)
    return fail(ErrorCode::unsupported, fmt::format("repository {} is on {}; it has to be on BTRFS",
                                                    found.string(), filesystem_type(found)));
  return found;
}

Result<unique_fd> take_lock(const Layout& layout, bool create) {
  ICBD_ASSIGN(auto lock, open_file(layout.lock(), O_RDWR | (create ? O_CREAT : 0), 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return fail_errno(fmt::format("lock {}", layout.lock().string()));
  return fail(ErrorCode::busy, fmt::format("repository {} is in use by another daemon",
                                           layout.directory().string()));
}

}  // namespace icbd::repository
