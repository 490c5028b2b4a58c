#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/encoded_write.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decompress.h"

#include "session.h"

namespace icbd::applier {

using namespace sendstream;

namespace {

// Writing back while the stream goes on leaves little for the final sync. Measured for 2 GiB:
// pieces of 8 MiB are the fastest, ahead of leaving it all to the end.
constexpr std::uint64_t writeback_length = 8 * 1024 * 1024;
constexpr std::size_t copy_buffer_size = 1024 * 1024;

constexpr std::uint32_t fallocate_modes =
    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

Status check_range(ByteRange range) {
  if (range.length <= limits::file_size && range.offset <= limits::file_size - range.length)
    return {};
  return fail(ErrorCode::too_large, fmt::format("{} bytes at {}: the limit for a file is {} bytes",
                                                range.length, range.offset, limits::file_size));
}

Result<struct stat> status_of(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno("stat");
  return status;
}

std::uint64_t size_of(const struct stat& status) {
  return static_cast<std::uint64_t>(status.st_size);
}

Status resize(int fd, std::uint64_t size) {
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return fail_errno("truncate");
  return {};
}

// Where the kernel cannot share (ends that are not at a block's edge, another filesystem).
Status copy_range(int source_fd, std::uint64_t source_offset, int destination_fd,
                  ByteRange destination) {
  Bytes buffer(std::min<std::uint64_t>(copy_buffer_size, destination.length));
  for (std::uint64_t done = 0; done < destination.length;) {
    const auto length = std::min<std::uint64_t>(buffer.size(), destination.length - done);
    const auto piece = std::span(buffer).first(length);
    ICBD_TRY(read_exactly_at(source_fd, piece, source_offset + done));
    ICBD_TRY(write_at(destination_fd, piece, destination.offset + done));
    done += length;
  }
  return {};
}

Status check_clone(int source_fd, ByteRange source, int destination_fd, ByteRange destination) {
  ICBD_ASSIGN(const struct stat from, status_of(source_fd));
  ICBD_ASSIGN(const struct stat to, status_of(destination_fd));
  if (source.end() > size_of(from))
    return fail(ErrorCode::corrupt,
                fmt::format("the source has {} bytes, but {} at {} are to be cloned", size_of(from),
                            source.length, source.offset));
  const bool same_file = from.st_dev == to.st_dev && from.st_ino == to.st_ino;
  if (same_file && !intersect(source, destination).empty())
    return fail(ErrorCode::corrupt, "source and destination overlap");
  return {};
}

}  // namespace

Status Session::operator()(const Write& command) {
  const ByteRange range{command.offset, command.data.size()};
  ICBD_TRY(check_range(range));
  ICBD_ASSIGN(const int fd, tree_.writable(command.path));
  ICBD_TRY(write_at(fd, command.data, command.offset));
  start_writeback(command.path, fd, range);
  return {};
}

void Session::start_writeback(const std::string& path, int fd, ByteRange written) {
  if (run_.path != path || run_.range.end() != written.offset) run_ = {path, {written.offset, 0}};
  run_.range.length += written.length;
  if (run_.range.length < writeback_length) return;
  // Only a hint: an error of the disk comes back from the final sync.
  static_cast<void>(::sync_file_range(fd, static_cast<off_t>(run_.range.offset),
                                      static_cast<off_t>(run_.range.length),
                                      SYNC_FILE_RANGE_WRITE));
  run_.range = {run_.range.end(), 0};
}

// The extent is handed to the kernel as it came, which costs neither time nor the compression.
// Where that cannot be (btrfs::encoded_write() lists when) it is unpacked here and written like any
// other data; the filesystem compresses it again if it is mounted so.
Status Session::operator()(const EncodedWrite& command) {
  ICBD_TRY(check_range({command.offset, command.unencoded_file_length}));
  ICBD_TRY(check_encoding(command));
  ICBD_ASSIGN(const int fd, tree_.writable(command.path));
  if (options_.write_encoded) {
    const Status written = btrfs::encoded_write(fd, {.data = command.data,
                                                     .offset = command.offset,
                                                     .file_length = command.unencoded_file_length,
                                                     .unencoded_offset = command.unencoded_offset,
                                                     .unencoded_length = command.unencoded_length,
                                                     .compression = command.compression});
    if (written || written.error().code() != ErrorCode::unsupported) return written;
  }
  ICBD_ASSIGN(const Bytes plain, decompress(command));
  ICBD_TRY(write_at(fd, plain, command.offset));
  start_writeback(command.path, fd, {command.offset, plain.size()});
  return {};
}

Status Session::operator()(const Truncate& command) {
  ICBD_TRY(check_range({0, command.size}));
  ICBD_ASSIGN(const int fd, tree_.writable(command.path));
  // Each new file is truncated to the size that it has: to the kernel that is a change like any
  // other.
  ICBD_ASSIGN(const Object* object, tree_.object(command.path));
  if (object->ends_with_its_size) {
    ICBD_ASSIGN(const struct stat status, status_of(fd));
    if (size_of(status) == command.size) return {};
  }
  return resize(fd, command.size);
}

// The bytes come later, but the file already has the size that writing them would give it: the
// kernel sends no truncate when the last extent ends with the file, and later clones of these bytes
// must find them within the file.
Status Session::operator()(const UpdateExtent& command) {
  if (!options_.extents_have_length) return {};
  ICBD_TRY(check_range(command.range));
  ICBD_ASSIGN(const int fd, tree_.writable(command.path));
  ICBD_ASSIGN(const struct stat status, status_of(fd));
  if (command.range.empty() || size_of(status) >= command.range.end()) return {};
  return resize(fd, command.range.end());
}

Status Session::operator()(const Fallocate& command) {
  ICBD_TRY(check_range(command.range));
  if ((command.mode & ~fallocate_modes) != 0)
    return fail(ErrorCode::unsupported, fmt::format("fallocate mode {:#x}", command.mode));
  ICBD_ASSIGN(const int fd, tree_.writable(command.path));
  ICBD_ASSIGN(Object * object, tree_.object(command.path));
  object->ends_with_its_size = false;
  if (::fallocate(fd, static_cast<int>(command.mode), static_cast<off_t>(command.range.offset),
                  static_cast<off_t>(command.range.length)) != 0)
    return fail_errno("fallocate");
  return {};
}

Status Session::operator()(const Clone& command) {
  const ByteRange source{command.source_offset, command.range.length};
  ICBD_TRY(check_range(command.range));
  ICBD_TRY(check_range(source));
  // To the kernel, a length of 0 means "up to the end".
  if (command.range.empty()) return fail(ErrorCode::corrupt, "a clone of nothing");
  ICBD_ASSIGN(const int destination_fd, tree_.writable(command.path));
  ICBD_ASSIGN(const int source_fd, clone_source(command));
  ICBD_TRY(check_clone(source_fd, source, destination_fd, command.range));
  const Status shared = btrfs::clone_range(source_fd, source.offset, destination_fd,
                                           command.range.offset, source.length);
  if (shared || shared.error().code() != ErrorCode::unsupported) return shared;
  return copy_range(source_fd, source.offset, destination_fd, command.range);
}

Result<int> Session::clone_source(const Clone& command) {
  if (identity_ && command.source_uuid == identity_->uuid)
    return tree_.readable(command.source_path);
  if (!foreign_ || foreign_->uuid != command.source_uuid) {
    ICBD_ASSIGN(const int root_fd, sources_.root_of(command.source_uuid));
    foreign_.emplace(command.source_uuid, ConfinedTree(root_fd));
  }
  return foreign_->tree.readable(command.source_path);
}

}  // namespace icbd::applier
