#include "landing_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>

#include "icbd/base/file.h"
#include "icbd/base/fingerprint.h"
#include "icbd/base/parallel.h"
#include "icbd/btrfs/file_extents.h"

#include "packed_fingerprint.h"

namespace icbd::replicator {
namespace {

using btrfs::FileExtent;
using manifest::Entry;

// One search for extents, and one list of digests: 512 MiB of a file.
constexpr std::uint32_t window_chunks = 4096;
// What is read back without a look at extents, so that all threads have some: 32 MiB.
constexpr std::uint32_t compared_window_chunks = 256;
// Hashing is bound by the processor; more than this would be felt by readers.
constexpr unsigned checkers = 2;
// What was stored packed is not in memory: who reads it back waits for the disk.
constexpr unsigned packed_checkers = 6;

// The pieces of a sorted list that make up `range`, each relative to the range's beginning, so that
// lists of different files can be compared.
class Cursor {
 public:
  explicit Cursor(std::vector<FileExtent> extents) : extents_(std::move(extents)) {}

  // Ranges must be asked for in order.
  std::vector<FileExtent> cut(ByteRange range) {
    while (at_ < extents_.size() && extents_[at_].range.end() <= range.offset) ++at_;
    std::vector<FileExtent> pieces;
    for (std::size_t i = at_; i < extents_.size() && extents_[i].range.offset < range.end(); ++i) {
      FileExtent piece = extents_[i];
      const ByteRange part = intersect(piece.range, range);
      if (piece.kind == FileExtent::Kind::shared)
        piece.disk_offset += part.offset - piece.range.offset;
      piece.range = {part.offset - range.offset, part.length};
      pieces.push_back(piece);
    }
    return pieces;
  }

 private:
  std::vector<FileExtent> extents_;
  std::size_t at_ = 0;
};

bool all_of_kind(const std::vector<FileExtent>& pieces, FileExtent::Kind kind) {
  return std::ranges::all_of(pieces,
                             [kind](const FileExtent& piece) { return piece.kind == kind; });
}

bool none_inlined(const std::vector<FileExtent>& pieces) {
  return std::ranges::none_of(
      pieces, [](const FileExtent& piece) { return piece.kind == FileExtent::Kind::inlined; });
}

// What the parent has at the same place as a window: digests and extents.
struct ParentSide {
  std::vector<Digest> digests;  // may be fewer than the window's
  std::uint64_t size = 0;
  std::optional<Cursor> extents;
};

Result<ParentSide> parent_side(const Content& content, FileIndex file, ChunkIndex first,
                               std::uint32_t count, ByteRange window) {
  ParentSide side;
  const auto& lineage = content.lineages()[file.value()];
  if (!lineage.parent || !content.parent()) return side;
  const LocalVersion& parent = *content.parent();
  const Entry& entry = parent.entries[lineage.parent->value()];
  if (entry.chunk_count() <= first.value()) return side;
  ICBD_ASSIGN(side.digests,
              parent.reader.chunk_digests(entry, first,
                                          std::min(count, entry.chunk_count() - first.value())));
  struct stat status{};
  if (::fstatat(parent.subvolume.root_fd(), entry.path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return fail_errno(fmt::format("look at /{} of the parent", entry.path));
  side.size = entry.size;
  ICBD_ASSIGN(auto extents,
              btrfs::file_extents(parent.subvolume.root_fd(), InodeNumber(status.st_ino), window));
  side.extents.emplace(std::move(extents));
  return side;
}

}  // namespace

LandingCheck::LandingCheck(Content& content)
    : content_(content), compared_(std::make_unique<bool[]>(content.chunks().count())) {}

void LandingCheck::add_windows(FileIndex file, std::uint32_t size,
                               std::vector<Window>& windows) const {
  const std::uint32_t chunks = content_.entry(file).chunk_count();
  for (std::uint32_t at = 0; at < chunks; at += size)
    windows.push_back({file, ChunkIndex(at), std::min(size, chunks - at)});
}

std::vector<LandingCheck::Window> LandingCheck::written_windows(bool& packed) const {
  std::vector<Window> all;
  const ChunkMap& chunks = content_.chunks();
  const auto was_written = [&](const Window& window) {
    bool any = false;
    for (std::uint32_t i = 0; i < window.count; ++i) {
      const auto written =
          chunks.written(chunks.number(window.file, ChunkIndex(window.first.value() + i)));
      any = any || written;
      packed = packed || (written && written->packed);
    }
    return any;
  };
  const auto& entries = content_.entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i)
    if (entries[i].type == manifest::EntryType::file)
      add_windows(FileIndex(i), compared_window_chunks, all);
  std::erase_if(all, std::not_fn(was_written));
  return all;
}

std::vector<LandingCheck::Window> LandingCheck::open_windows(const SharedInodes& shared,
                                                             LandingCheckReport& report) const {
  std::vector<Window> all;
  const auto& entries = content_.entries();
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type != manifest::EntryType::file) continue;
    const Entry* before = shared.find(content_.inode(FileIndex(i)));
    if (before != nullptr && same_content(*before, entries[i]))
      report.bytes_shared += entries[i].size;
    else
      add_windows(FileIndex(i), window_chunks, all);
  }
  std::erase_if(all, [&](const Window& window) { return is_compared(window); });
  return all;
}

bool LandingCheck::is_compared(const Window& window) const {
  const std::uint64_t first = content_.chunks().number(window.file, window.first).value();
  return std::ranges::all_of(std::span(&compared_[first], window.count),
                             [](bool compared) { return compared; });
}

Status LandingCheck::compare_written(std::stop_token stop) {
  LandingCheckReport report;
  const auto compare = [this](const Window& window, LandingCheckReport& part) {
    return compare_written(window, part);
  };
  bool packed = false;
  const std::vector<Window> windows = written_windows(packed);
  ICBD_TRY(look_at(windows, packed ? packed_checkers : checkers, compare, stop, report));
  bytes_compared_ = report.bytes_read;
  return {};
}

Result<LandingCheckReport> LandingCheck::run(const SharedInodes& shared, std::stop_token stop) {
  LandingCheckReport report;
  report.bytes_read = bytes_compared_;
  const auto check = [this](const Window& window, LandingCheckReport& part) {
    return check_window(window, part);
  };
  ICBD_TRY(look_at(open_windows(shared, report), checkers, check, stop, report));
  return report;
}

Status LandingCheck::look_at(std::span<const Window> windows, unsigned most_threads,
                             const Look& look, const std::stop_token& stop,
                             LandingCheckReport& report) {
  std::mutex mutex;  // guards report
  return in_parallel(windows.size(), most_threads, stop, [&](std::size_t i) -> Status {
    LandingCheckReport part;
    ICBD_TRY(look(windows[i], part));
    const std::lock_guard lock(mutex);
    report.damaged.insert(report.damaged.end(), part.damaged.begin(), part.damaged.end());
    report.bytes_read += part.bytes_read;
    report.bytes_shared += part.bytes_shared;
    return {};
  });
}

// What is not as it was written, and what cannot be read, is left to check_window().
Status LandingCheck::compare_written(const Window& window, LandingCheckReport& report) {
  const Entry& entry = content_.entry(window.file);
  ICBD_ASSIGN(const unique_fd fd,
              content_.staging().open_inode(content_.inode(window.file), O_RDONLY));
  Bytes chunk;
  for (std::uint32_t i = 0; i < window.count; ++i) {
    const ChunkIndex index(window.first.value() + i);
    const ChunkNumber number = content_.chunks().number(window.file, index);
    const auto written = content_.chunks().written(number);
    if (!written) continue;
    const ByteRange range = entry.chunk_range(index);
    std::optional<Fingerprint> found;
    if (written->packed) {
      chunk.resize(limits::extent_length);
      found = packed_fingerprint(fd.get(), range, chunk);
    } else {
      chunk.resize(range.length);
      if (read_exactly_at(fd.get(), chunk, range.offset)) found = fingerprint(chunk);
    }
    compared_[number.value()] = found == written->bytes;
    if (compared_[number.value()]) report.bytes_read += range.length;
  }
  return {};
}

Status LandingCheck::check_window(const Window& window, LandingCheckReport& report) const {
  const Entry& entry = content_.entry(window.file);
  const std::uint64_t begin = entry.chunk_range(window.first).offset;
  const std::uint64_t end =
      entry.chunk_range(ChunkIndex(window.first.value() + window.count - 1)).end();
  const ByteRange bytes{begin, end - begin};
  ICBD_ASSIGN(const std::vector<Digest> digests,
              content_.digests(window.file, window.first, window.count));
  ICBD_ASSIGN(ParentSide parent,
              parent_side(content_, window.file, window.first, window.count, bytes));
  ICBD_ASSIGN(auto extents, btrfs::file_extents(content_.staging().root_fd(),
                                                content_.inode(window.file), bytes));
  Cursor here(std::move(extents));
  const auto proven = std::make_unique<bool[]>(window.count);
  for (std::uint32_t i = 0; i < window.count; ++i) {
    const ChunkIndex index(window.first.value() + i);
    const ByteRange range = entry.chunk_range(index);
    const auto pieces = here.cut(range);
    if (compared_[content_.chunks().number(window.file, index).value()]) {
      proven[i] = true;
      continue;
    }
    if (all_of_kind(pieces, FileExtent::Kind::zeros)) {
      proven[i] = digests[i] == sha256_of_zeros(range.length);
    } else if (parent.extents && i < parent.digests.size() && digests[i] == parent.digests[i] &&
               range.end() <= parent.size && none_inlined(pieces)) {
      proven[i] = pieces == parent.extents->cut(range);
    }
    if (proven[i]) report.bytes_shared += range.length;
  }
  return read_back(window, digests, std::span(proven.get(), window.count), report);
}

// What was verified by its digest in memory before it was written need only have stayed the same.
bool LandingCheck::is_right(ByteView bytes, ChunkNumber number, const Digest& digest) const {
  const auto written = content_.chunks().written(number);
  if (written && !written->packed) return fingerprint(bytes) == written->bytes;
  return sha256(bytes) == digest;
}

Status LandingCheck::read_back(const Window& window, std::span<const Digest> digests,
                               std::span<const bool> proven, LandingCheckReport& report) const {
  if (std::ranges::all_of(proven, [](bool p) { return p; })) return {};
  const Entry& entry = content_.entry(window.file);
  ICBD_ASSIGN(const unique_fd fd,
              content_.staging().open_inode(content_.inode(window.file), O_RDONLY));
  Bytes chunk;
  for (std::uint32_t i = 0; i < window.count; ++i) {
    if (proven[i]) continue;
    const ChunkIndex index(window.first.value() + i);
    const ByteRange range = entry.chunk_range(index);
    chunk.resize(range.length);
    const Status read = read_exactly_at(fd.get(), chunk, range.offset);
    // A disk that cannot give it back has not kept it: it is fetched again.
    if (!read || !is_right(chunk, content_.chunks().number(window.file, index), digests[i]))
      report.damaged.push_back({window.file, index});
    report.bytes_read += range.length;
  }
  return {};
}

}  // namespace icbd::replicator
