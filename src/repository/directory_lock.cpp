#include "directory_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"

#include "filesystem_type.h"

namespace icbd::repository {
namespace {

constexpr std::chrono::milliseconds longest_wait{500};
constexpr std::chrono::milliseconds look_interval{1};

}  // namespace

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
  // A daemon that has just been killed may have a child that has not let go yet.
  const auto deadline = std::chrono::steady_clock::now() + longest_wait;
  int locked = 0;
  while ((locked = flock(lock.get(), LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(look_interval);
  if (locked == 0) return lock;
  if (errno != EWOULDBLOCK) return fail_errno(fmt::format("lock {}", layout.lock().string()));
  return fail(ErrorCode::busy, fmt::format("repository {} is in use by another daemon",
                                           layout.directory().string()));
}

}  // namespace icbd::repository
