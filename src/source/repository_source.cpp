#include "icbd/source/repository_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "icbd/base/background.h"
#include "icbd/base/limits.h"
#include "icbd/btrfs/send.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/manifest/page_store.h"

#include "encoded_reader.h"
#include "extent_reader.h"
#include "open_files.h"
#include "parent_choice.h"

namespace icbd::source {
namespace {

using catalog::Version;
using catalog::VersionState;

// Versions that are kept open: those that caches fetch at the same time, with room for the
// parents that they are compared with.
constexpr std::size_t open_versions_max = 8;
// Of all versions that are kept open, the most recent one excepted: about 100 bytes each.
constexpr std::size_t open_entries_max = 200'000;
// Descriptors of each open version.
constexpr std::size_t open_files_max = 32;
// With compressed extents as they lie on the disk.
constexpr std::uint32_t stream_protocol = 2;
// One answer is held in memory as a whole.
constexpr std::size_t pages_bytes_max = limits::manifest_root;

std::unexpected<Error> unknown_manifest(const Digest& manifest) {
  return fail(ErrorCode::not_found,
              fmt::format("no complete version has the manifest {}", manifest.to_string()));
}

Status check_count(std::string_view what, std::size_t count, std::size_t limit) {
  if (count <= limit) return {};
  return fail(ErrorCode::too_large,
              fmt::format("{} {} were asked for, at most {} are allowed", count, what, limit));
}

}  // namespace

// What is kept of a version while it is served.
class RepositorySource::OpenVersion {
 public:
  static Result<std::shared_ptr<OpenVersion>> open(repository::Repository& repository,
                                                   const Digest& manifest) {
    ICBD_ASSIGN(const auto versions, repository.catalog().versions());
    const auto found = std::ranges::find_if(versions, [&](const Version& version) {
      return version.state == VersionState::complete && version.facts.manifest == manifest;
    });
    if (found == versions.end()) return unknown_manifest(manifest);
    auto root = repository.open_version(found->facts.image, found->facts.number);
    if (!root) return std::unexpected(std::move(root).error());
    auto pages = repository.pages(found->facts.image, found->facts.number);
    if (!pages) return std::unexpected(std::move(pages).error());
    return std::make_shared<OpenVersion>(*found, std::move(*root), std::move(*pages));
  }

  OpenVersion(Version version, unique_fd root, std::shared_ptr<manifest::FilePageStore> pages)
      : version_(std::move(version)),
        root_(std::move(root)),
        pages_(std::move(pages)),
        open_files_(root_.get(), open_files_max) {}

  const Version& version() const { return version_; }
  const Digest& manifest() const { return version_.facts.manifest; }
  int root_fd() const { return root_.get(); }
  const manifest::PageStore& pages() const { return *pages_; }
  OpenFiles& open_files() { return open_files_; }
  ReadOnce& read_once() { return read_once_; }
  std::size_t entries() const { return version_.facts.entries; }

  // By file index; read from the manifest when it is first needed.
  Result<const std::vector<ServedFile>*> files() {
    const std::lock_guard lock(mutex_);
    if (files_.empty()) {
      ICBD_ASSIGN(const auto reader, manifest::Reader::open(*pages_, manifest()));
      ICBD_ASSIGN(auto entries, reader.entries());
      files_.reserve(entries.size());
      for (manifest::Entry& entry : entries)
        files_.push_back({.path = std::move(entry.path),
                          .size = entry.size,
                          .is_file = entry.type == manifest::EntryType::file});
    }
    return &files_;
  }

 private:
  Version version_;
  unique_fd root_;
  std::shared_ptr<manifest::FilePageStore> pages_;
  OpenFiles open_files_;
  ReadOnce read_once_;
  std::mutex mutex_;
  std::vector<ServedFile> files_;  // once filled it does not change
};

RepositorySource::RepositorySource(repository::Repository& repository,
                                   const uring::QueueOptions& reads)
    : repository_(repository), buffers_(std::make_unique<StretchBuffers>()) {
  auto queue = uring::make_queue(reads);
  if (!queue) return;
  if (auto reader = DiskReader::start(std::move(*queue))) disk_ = std::move(*reader);
}

RepositorySource::~RepositorySource() = default;

std::string RepositorySource::reads_with() const {
  return disk_ ? disk_->description() : "the page cache alone";
}

std::shared_ptr<RepositorySource::OpenVersion> RepositorySource::find_open(const Digest& manifest) {
  const auto known = std::ranges::find_if(
      open_, [&](const auto& version) { return version->manifest() == manifest; });
  if (known == open_.end()) return nullptr;
  open_.splice(open_.begin(), open_, known);
  return open_.front();
}

Result<std::shared_ptr<RepositorySource::OpenVersion>> RepositorySource::open(
    const Digest& manifest) {
  {
    const std::lock_guard lock(mutex_);
    if (auto known = find_open(manifest)) return known;
  }
  // Without the lock: loading a large manifest must not hold up readers of other versions.
  ICBD_ASSIGN(auto opened, OpenVersion::open(repository_, manifest));
  const std::lock_guard lock(mutex_);
  if (auto known = find_open(manifest)) return known;
  open_.push_front(opened);
  std::size_t count = 0;
  std::size_t entries = 0;
  std::erase_if(open_, [&](const auto& version) {
    ++count;
    entries += version->entries();
    return count > 1 && (count > open_versions_max || entries > open_entries_max);
  });
  return opened;
}

Result<std::optional<CatalogSnapshot>> RepositorySource::catalog(
    const std::optional<KnownCatalog>& known) {
  const catalog::Catalog& catalog = repository_.catalog();
  CatalogSnapshot snapshot;
  // Read before the rest: what changes meanwhile is then told again, never left out.
  ICBD_ASSIGN(snapshot.change_number, catalog.change_number());
  snapshot.session = session_;
  if (known == snapshot.known()) return std::nullopt;
  snapshot.repository = catalog.identity().uuid;
  snapshot.epoch = catalog.identity().epoch;
  ICBD_ASSIGN(snapshot.images, catalog.images());
  ICBD_ASSIGN(auto versions, catalog.versions());
  for (Version& version : versions)
    if (version.state == VersionState::complete)
      snapshot.versions.push_back(std::move(version.facts));
  ICBD_ASSIGN(snapshot.tags, catalog.tags());
  return snapshot;
}

Status RepositorySource::shape(const ShapeRequest& request, const ShapeSink& sink) {
  ICBD_TRY(check_count("parents", request.offered.size(), limits::offered_parents));
  ICBD_ASSIGN(const auto version, open(request.manifest));
  const auto& facts = version->version().facts;
  ICBD_ASSIGN(const auto versions, repository_.catalog().versions(facts.image));
  const auto parent = choose_parent(version->version(), versions, request.offered);
  unique_fd parent_root;
  ShapeBegin begin;
  if (parent) {
    ICBD_ASSIGN(parent_root, repository_.open_version(facts.image, parent->facts.number));
    begin.parent = parent->facts.uuid;
  }
  ICBD_TRY(sink.begin(begin));
  // Needed for the extents, which will be asked for next. What is wrong with it is told then.
  const auto files_read = in_background([&]() -> Status {
    ICBD_TRY(version->files());
    return {};
  });
  std::uint64_t sent = 0;
  const Status done =
      btrfs::send_shape(version->root_fd(), parent_root.get(), [&](ByteView piece) -> Status {
        sent += piece.size();
        if (sent > limits::shape_bytes)
          return fail(ErrorCode::too_large,
                      fmt::format("the shape of {}@{} is larger than {} bytes", facts.image,
                                  facts.number.value(), limits::shape_bytes));
        return sink.data(piece);
      });
  files_read.wait();
  return done;
}

Result<std::vector<Bytes>> RepositorySource::pages(const Digest& manifest,
                                                   std::span<const Digest> digests) {
  ICBD_TRY(check_count("pages", digests.size(), limits::pages_per_request));
  ICBD_ASSIGN(const auto version, open(manifest));
  std::vector<Bytes> pages;
  pages.reserve(digests.size());
  std::size_t bytes = 0;
  for (const Digest& digest : digests) {
    ICBD_ASSIGN(auto page, version->pages().find(digest));
    bytes += page.size();
    if (bytes > pages_bytes_max)
      return fail(
          ErrorCode::too_large,
          fmt::format("the pages have more than {} bytes; ask for fewer at once", pages_bytes_max));
    pages.push_back(std::move(page));
  }
  return pages;
}

ReadBy RepositorySource::read_by(OpenVersion& version, Priority priority) {
  return {.disk = disk_.get(),
          .once = &version.read_once(),
          .buffers = buffers_.get(),
          .priority = priority};
}

Status RepositorySource::extents(const Digest& manifest, std::span<const Extent> extents,
                                 Priority priority,
                                 const std::function<Status(const ExtentData&)>& received) {
  ICBD_TRY(check_count("extents", extents.size(), limits::extents_per_request));
  ICBD_ASSIGN(const auto version, open(manifest));
  ICBD_ASSIGN(const auto* files, version->files());
  for (const Extent& extent : extents) ICBD_TRY(check_extent(*files, extent));
  return read_extents(*files, version->open_files(), extents, read_by(*version, priority),
                      received);
}

Status RepositorySource::stream(const StreamRequest& request,
                                const std::function<Status(ByteView)>& data) {
  ICBD_ASSIGN(const auto version, open(request.manifest));
  const auto& facts = version->version().facts;
  btrfs::SendOptions options{.protocol = stream_protocol, .compressed_data = true};
  unique_fd parent_root;
  if (request.parent) {
    ICBD_ASSIGN(const auto versions, repository_.catalog().versions(facts.image));
    const auto parent = std::ranges::find_if(versions, [&](const Version& other) {
      return other.state == VersionState::complete && other.facts.uuid == *request.parent;
    });
    if (parent == versions.end())
      return fail(ErrorCode::not_found,
                  fmt::format("{} has no version {} here that it could be sent against",
                              facts.image, request.parent->to_string()));
    ICBD_ASSIGN(parent_root, repository_.open_version(facts.image, parent->facts.number));
    options.parent_root_fd = parent_root.get();
  }
  return btrfs::send(version->root_fd(), options, data);
}

Status RepositorySource::encoded_extents(const Digest& manifest, std::span<const Extent> extents,
                                         const EncodedSink& sink) {
  ICBD_TRY(check_count("extents", extents.size(), limits::extents_per_request));
  ICBD_ASSIGN(const auto version, open(manifest));
  ICBD_ASSIGN(const auto* files, version->files());
  for (const Extent& extent : extents) ICBD_TRY(check_extent(*files, extent));
  ICBD_ASSIGN(const auto plain,
              read_encoded(*files, version->open_files(), extents, *buffers_, sink.encoded));
  return read_extents(*files, version->open_files(), plain,
                      read_by(*version, Priority::shared_bulk), sink.plain);
}

Result<std::uint64_t> RepositorySource::extent_border(const Digest& manifest, FileIndex file,
                                                      std::uint64_t offset) {
  ICBD_ASSIGN(const auto version, open(manifest));
  ICBD_ASSIGN(const auto* files, version->files());
  if (file.value() >= files->size() || !(*files)[file.value()].is_file) return offset;
  return encoded_border((*files)[file.value()], version->open_files(), file, offset);
}

}  // namespace icbd::source
