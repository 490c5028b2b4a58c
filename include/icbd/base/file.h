// Small file work with whole-buffer semantics and Result errors.
//
// Every call retries EINTR and short transfers. Thread-safe as the system calls are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/base/unique_fd.h"

namespace icbd {

// openat(2) with O_CLOEXEC added; `path` appears in the error.
Result<unique_fd> open_at(int directory_fd, const std::string& path, int flags, unsigned mode = 0);
Result<unique_fd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0);

// Fills `buffer` from `offset`; returns how much was read, less only at the end of the file.
Result<std::size_t> read_at(int fd, std::span<std::byte> buffer, std::uint64_t offset);
// As read_at, but the end of the file within the range is an error (corrupt).
Status read_exactly_at(int fd, std::span<std::byte> buffer, std::uint64_t offset);
Status write_at(int fd, ByteView data, std::uint64_t offset);
// Makes a file, or gives one other content; durable only after a sync by the caller.
Status write_file(const std::filesystem::path& path, ByteView content);
// For sockets and pipes: write(2) until all is gone. EPIPE is returned, never raised as SIGPIPE
// if the descriptor is a socket.
Status write_all(int fd, ByteView data);
// For sockets and pipes: fills the buffer; `unavailable` if the peer closes before that.
Status read_all(int fd, std::span<std::byte> buffer);

// Reads a whole file of at most `limit` bytes.
Result<Bytes> read_file(const std::filesystem::path& path, std::size_t limit);
// Replaces a file so that after a crash either the old or the new content is there: temporary
// name, write, fsync, rename, fsync of the directory.
Status replace_file(const std::filesystem::path& path, ByteView content);
Status sync_directory(const std::filesystem::path& directory);

}  // namespace icbd
