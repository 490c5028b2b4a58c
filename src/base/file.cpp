#include "icbd/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace icbd {

Result<unique_fd> open_at(int directory_fd, const std::string& path, int flags, unsigned mode) {
  int fd;
  do fd = openat(directory_fd, path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno(fmt::format("open {}", path));
  return unique_fd(fd);
}

Result<unique_fd> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  return open_at(AT_FDCWD, path.string(), flags, mode);
}

Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got =
        pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(fmt::format("read {} bytes at {}", buffer.size(), offset));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Status read_exactly_at(int fd, std::span<std::byte> buffer, std::uint64_t offset) {
  ICBD_ASSIGN(const std::size_t got, read_at(fd, buffer, offset));
  if (got != buffer.size())
    return fail(ErrorCode::corrupt,
                fmt::format("the file ends at {}, but {} bytes were expected at {}", offset + got,
                            buffer.size(), offset));
  return {};
}

Status write_at(int fd, ByteView data, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t put =
        pwrite(fd, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(fmt::format("write {} bytes at {}", data.size(), offset));
    done += static_cast<std::size_t>(put);
  }
  return {};
}

Status write_all(int fd, ByteView data) {
  while (!data.empty()) {
    ssize_t put = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == ENOTSOCK) put = write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno("write to a connection");
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Status read_all(int fd, std::span<std::byte> buffer) {
  while (!buffer.empty()) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read from a connection");
    if (got == 0) return fail(ErrorCode::unavailable, "the peer closed the connection");
    buffer = buffer.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<Bytes> read_file(const std::filesystem::path& path, std::size_t limit) {
  ICBD_ASSIGN(const unique_fd file, open_file(path, O_RDONLY));
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail_errno(fmt::format("stat {}", path.string()));
  if (static_cast<std::uint64_t>(status.st_size) > limit)
    return fail(ErrorCode::too_large, fmt::format("{} has {} bytes, more than the {} allowed",
                                                  path.string(), status.st_size, limit));
  Bytes content(static_cast<std::size_t>(status.st_size));
  ICBD_ASSIGN(const std::size_t got, read_at(file.get(), content, 0));
  content.resize(got);
  return content;
}

Status write_file(const std::filesystem::path& path, ByteView content) {
  ICBD_ASSIGN(const unique_fd file, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  return write_at(file.get(), content, 0);
}

Status replace_file(const std::filesystem::path& path, ByteView content) {
  std::filesystem::path temporary = path;
  temporary += ".new";
  {
    ICBD_ASSIGN(const unique_fd file, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    ICBD_TRY(write_at(file.get(), content, 0));
    if (fsync(file.get()) != 0) return fail_errno(fmt::format("fsync {}", temporary.string()));
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0)
    return fail_errno(fmt::format("rename {} to {}", temporary.string(), path.string()));
  return sync_directory(path.parent_path());
}

Status sync_directory(const std::filesystem::path& directory) {
  ICBD_ASSIGN(const unique_fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  if (fsync(fd.get()) != 0) return fail_errno(fmt::format("fsync {}", directory.string()));
  return {};
}

}  // namespace icbd
