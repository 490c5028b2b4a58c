#include "beneath.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "icbd/base/quote.h"

namespace icbd::repository {
namespace {

// The kernel asks to try again if something was renamed while it followed the path (openat2(2)).
constexpr int attempts_max = 128;

int open_once(int root_fd, const std::string& path, const open_how& how) {
  return static_cast<int>(syscall(SYS_openat2, root_fd, path.c_str(), &how, sizeof how));
}

}  // namespace

Result<unique_fd> open_beneath(int root_fd, std::string_view path, int flags, unsigned mode) {
  const std::string name(path.empty() ? "." : path);
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  // A symlink itself is opened by O_PATH | O_NOFOLLOW, which RESOLVE_NO_SYMLINKS allows.
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    if (const int fd = open_once(root_fd, name, how); fd >= 0) return unique_fd(fd);
    // Sparing the access time is for owners and root; reading is possible without.
    if (errno == EPERM && (how.flags & O_NOATIME) != 0)
      how.flags &= ~static_cast<unsigned>(O_NOATIME);
    else if (errno != EAGAIN && errno != EINTR)
      break;
  }
  return fail_errno(fmt::format("open {}", quote(name)));
}

Result<NameBeneath> name_beneath(int root_fd, std::string_view path) {
  const std::size_t slash = path.rfind('/');
  const bool in_root = slash == std::string_view::npos;
  ICBD_ASSIGN(unique_fd directory, open_beneath(root_fd, in_root ? "" : path.substr(0, slash),
                                                O_PATH | O_DIRECTORY | O_NOFOLLOW));
  return NameBeneath{.directory = std::move(directory),
                     .name = std::string(in_root ? path : path.substr(slash + 1))};
}

std::string descriptor_path(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

std::string child_path(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

Result<std::vector<std::string>> list_beneath(int root_fd, std::string_view path) {
  ICBD_ASSIGN(unique_fd fd,
              open_beneath(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME));
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd.get()), closedir);
  if (!directory) return fail_errno(fmt::format("list {}", quote(path)));
  static_cast<void>(fd.release());  // closedir() closes it
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream of entries is this function's own.
    const dirent* entry = readdir(directory.get());
    if (!entry && errno != 0) return fail_errno(fmt::format("list {}", quote(path)));
    if (!entry) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace icbd::repository
