#include "icbd/manifest/page_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "icbd/base/file.h"

namespace icbd::manifest {
namespace {

constexpr std::string_view magic = "icbdman1";

// A root is the largest page. An empty page would look like the zeros that a power cut may leave.
Status check_length(ByteView page) {
  if (page.empty()) return fail(ErrorCode::invalid_argument, "an empty manifest page");
  if (page.size() > limits::manifest_root)
    return fail(
        ErrorCode::too_large,
        fmt::format("a manifest page of {} bytes is over limits::manifest_root", page.size()));
  return {};
}

std::unexpected<Error> not_here(const Digest& digest) {
  return fail(ErrorCode::not_found,
              fmt::format("manifest page {} is not here", digest.to_string()));
}

Result<std::uint64_t> file_size(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return fail_errno("stat");
  return static_cast<std::uint64_t>(status.st_size);
}

// False if only a part of it is there, because the file was torn while it was made.
Result<bool> check_magic(int fd, std::uint64_t size) {
  Bytes head(std::min<std::uint64_t>(size, magic.size()));
  ICBD_TRY(read_exactly_at(fd, head, 0));
  if (!magic.starts_with(as_text(head)))
    return fail(ErrorCode::corrupt, "not a store of manifest pages of this release");
  return head.size() == magic.size();
}

}  // namespace

Result<Bytes> MemoryPageStore::find(const Digest& digest) const {
  const std::lock_guard lock(mutex_);
  const auto page = pages_.find(digest);
  if (page == pages_.end()) return not_here(digest);
  return page->second;
}

bool MemoryPageStore::contains(const Digest& digest) const {
  const std::lock_guard lock(mutex_);
  return pages_.contains(digest);
}

Result<Digest> MemoryPageStore::add(ByteView page) {
  ICBD_TRY(check_length(page));
  const Digest digest = sha256(page);
  const std::lock_guard lock(mutex_);
  pages_.try_emplace(digest, page.begin(), page.end());
  return digest;
}

FilePageStore::FilePageStore(std::filesystem::path path, unique_fd file)
    : path_(std::move(path)), file_(std::move(file)) {}

Result<std::unique_ptr<FilePageStore>> FilePageStore::open(const std::filesystem::path& path,
                                                           bool create) {
  ICBD_ASSIGN(unique_fd file, open_file(path, O_RDWR | (create ? O_CREAT : 0), 0600));
  std::unique_ptr<FilePageStore> store(new FilePageStore(path, std::move(file)));
  const auto load = [&store]() -> Status {
    ICBD_ASSIGN(const std::uint64_t size, file_size(store->file_.get()));
    ICBD_TRY(store->load_magic(size));
    ICBD_TRY(store->load(size));
    return store->cut_off_torn_record(size);
  };
  if (auto loaded = load(); !loaded)
    return std::unexpected(loaded.error().with_context("manifest " + path.string()));
  return store;
}

Result<std::unique_ptr<FilePageStore>> FilePageStore::open_read_only(
    const std::filesystem::path& path) {
  ICBD_ASSIGN(unique_fd file, open_file(path, O_RDONLY));
  std::unique_ptr<FilePageStore> store(new FilePageStore(path, std::move(file)));
  const auto load = [&store]() -> Status {
    ICBD_ASSIGN(const std::uint64_t size, file_size(store->file_.get()));
    ICBD_ASSIGN(const bool whole, check_magic(store->file_.get(), size));
    return whole ? store->load(size) : Status();
  };
  if (auto loaded = load(); !loaded)
    return std::unexpected(loaded.error().with_context("manifest " + path.string()));
  return store;
}

Status FilePageStore::load(std::uint64_t size) {
  end_ = magic.size();
  while (true) {
    ICBD_ASSIGN(const std::uint32_t length, load_record(size));
    if (length == 0) return {};
    end_ += sizeof length + length;
  }
}

Status FilePageStore::cut_off_torn_record(std::uint64_t size) {
  if (end_ < size && ftruncate(file_.get(), static_cast<off_t>(end_)) != 0)
    return fail_errno("cut off a torn record");
  return {};
}

Status FilePageStore::load_magic(std::uint64_t size) {
  ICBD_ASSIGN(const bool whole, check_magic(file_.get(), size));
  if (whole) return {};
  // New, or torn while it was made. Its name becomes durable with the first sync().
  name_is_durable_ = false;
  return write_at(file_.get(), as_bytes(magic), 0);
}

Result<std::uint32_t> FilePageStore::load_record(std::uint64_t size) {
  std::uint32_t length = 0;
  if (size < end_ + sizeof length) return 0;
  ICBD_TRY(read_exactly_at(file_.get(), std::as_writable_bytes(std::span(&length, 1)), end_));
  if (length > limits::manifest_root)
    return fail(ErrorCode::corrupt,
                fmt::format("a record of {} bytes at {} is no page", length, end_));
  const std::uint64_t offset = end_ + sizeof length;
  if (size - offset < length) return 0;
  Bytes page(length);
  ICBD_TRY(read_exactly_at(file_.get(), page, offset));
  if (length != 0) places_.try_emplace(sha256(page), Place{offset, length});
  return length;
}

Result<Bytes> FilePageStore::find(const Digest& digest) const {
  Place place{};
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = unsaved_.find(digest); found != unsaved_.end()) return found->second;
    const auto found = places_.find(digest);
    if (found == places_.end()) return not_here(digest);
    place = found->second;
  }
  Bytes page(place.length);
  if (auto read = read_exactly_at(file_.get(), page, place.offset); !read)
    return std::unexpected(read.error().with_context("manifest " + path_.string()));
  if (sha256(page) != digest)
    return fail(ErrorCode::corrupt, fmt::format("manifest {}: the page at {} has changed on disk",
                                                path_.string(), place.offset));
  return page;
}

bool FilePageStore::contains(const Digest& digest) const {
  const std::lock_guard lock(mutex_);
  return places_.contains(digest) || unsaved_.contains(digest);
}

Result<Digest> FilePageStore::add(ByteView page) {
  ICBD_TRY(check_length(page));
  const Digest digest = sha256(page);
  const std::lock_guard lock(mutex_);
  if (places_.contains(digest) || unsaved_.contains(digest)) return digest;
  const Status written = write_record(digest, page);
  if (written) return digest;
  if (written.error().code() != ErrorCode::no_space) return std::unexpected(written.error());
  unsaved_.emplace(digest, Bytes(page.begin(), page.end()));
  return digest;
}

// With mutex_ held.
Status FilePageStore::write_record(const Digest& digest, ByteView page) {
  ByteWriter record;
  record.write_sized(page);
  if (auto written = write_at(file_.get(), record.view(), end_); !written) {
    // What was written of it must not be taken for records behind a shorter one.
    if (ftruncate(file_.get(), static_cast<off_t>(end_)) != 0)
      return fail_errno("cut off a torn record of manifest " + path_.string());
    return std::unexpected(written.error().with_context("manifest " + path_.string()));
  }
  const auto length = static_cast<std::uint32_t>(page.size());
  places_.emplace(digest, Place{end_ + sizeof length, length});
  end_ += record.size();
  written_since_sync_ = true;
  return {};
}

Status FilePageStore::write_unsaved() {
  const std::lock_guard lock(mutex_);
  while (!unsaved_.empty()) {
    const auto page = unsaved_.begin();
    ICBD_TRY(write_record(page->first, page->second));
    unsaved_.erase(page);
  }
  return {};
}

Status FilePageStore::sync() {
  ICBD_TRY(write_unsaved());
  if (!name_is_durable_.exchange(true))
    if (const Status synced = sync_directory(std::filesystem::absolute(path_).parent_path());
        !synced) {
      name_is_durable_ = false;
      return synced;
    }
  if (!written_since_sync_.exchange(false)) return {};
  if (fdatasync(file_.get()) == 0) return {};
  written_since_sync_ = true;
  return fail_errno("fdatasync manifest " + path_.string());
}

}  // namespace icbd::manifest
