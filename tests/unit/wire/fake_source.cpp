#include "fake_source.h"

#include "icbd/base/limits.h"
#include "icbd/base/range_set.h"

namespace icbd::wire::testing {
namespace {

bool is_zero(const source::Extent& extent) {
  const std::uint64_t chunk = extent.range.offset / limits::chunk_size;
  return extent.file.value() % 2 == 1 && chunk % 2 == 1;
}

Bytes make_shape() {
  Bytes bytes(3'000'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

catalog::VersionFacts make_version(const Digest& manifest) {
  return {.image = "win11",
          .number = VersionNumber(2),
          .uuid = Uuid::random(),
          .manifest = manifest,
          .parent = VersionNumber(1),
          .message = "updates of November",
          .published = {1'700'000'000, 5},
          .root = {.mode = 0750, .uid = 1, .gid = 2, .modified = {1'600'000'000, 7}},
          .entries = 4,
          .file_bytes = 4 * FakeSource::file_size,
          .data_bytes = 3 * FakeSource::file_size,
          .send_transaction = 77,
          .boot_directory = "boot",
          .target_file = "disks/system.raw"};
}

}  // namespace

FakeSource::FakeSource() : manifest(sha256(as_bytes("manifest"))), shape_bytes(make_shape()) {
  snapshot = {.repository = Uuid::random(),
              .epoch = Uuid::random(),
              .session = Uuid::random(),
              .change_number = 9,
              .images = {"empty", "win11"},
              .versions = {make_version(manifest)},
              .tags = {{"win11", "current", VersionNumber(2)}, {"win11", "t", VersionNumber(1)}}};
  for (const std::string_view text : {"first page", "second page", ""}) {
    const ByteView page = as_bytes(text);
    page_set.emplace(sha256(page), Bytes(page.begin(), page.end()));
  }
}

Result<std::optional<source::CatalogSnapshot>> FakeSource::catalog(
    const std::optional<source::KnownCatalog>& known) {
  pass_gate();
  if (known == snapshot.known()) return std::nullopt;
  return snapshot;
}

Status FakeSource::shape(const source::ShapeRequest& request, const source::ShapeSink& sink) {
  pass_gate();
  if (request.manifest != manifest) return fail(ErrorCode::not_found, "no such version");
  source::ShapeBegin begin;
  if (!request.offered.empty()) begin.parent = request.offered.front();
  ICBD_TRY(sink.begin(begin));
  ByteView rest = shape_bytes;
  for (std::size_t piece = 1; !rest.empty(); piece = piece * 3 + 1) {
    const ByteView now = rest.first(std::min(piece, rest.size()));
    ICBD_TRY(sink.data(now));
    rest = rest.subspan(now.size());
  }
  return {};
}

Status FakeSource::stream(const source::StreamRequest& request,
                          const std::function<Status(ByteView)>& data) {
  const source::ShapeSink sink{.begin = [](const source::ShapeBegin&) { return Status(); },
                               .data = data};
  return shape({.manifest = request.manifest, .offered = {}}, sink);
}

Result<std::vector<Bytes>> FakeSource::pages(const Digest&, std::span<const Digest> digests) {
  pass_gate();
  std::vector<Bytes> pages;
  for (const Digest& digest : digests) {
    const auto found = page_set.find(digest);
    if (found == page_set.end()) return fail(ErrorCode::not_found, "no such page");
    pages.push_back(found->second);
  }
  return pages;
}

Status FakeSource::extents(const Digest& asked, std::span<const source::Extent> extents,
                           source::Priority priority,
                           const std::function<Status(const source::ExtentData&)>& received) {
  pass_gate();
  last_priority = priority;
  if (asked != manifest) return fail(ErrorCode::not_found, "no such version");
  for (const source::Extent& extent : extents) {
    source::ExtentData data{.extent = extent, .owner = {}, .data = {}, .all_zero = is_zero(extent)};
    if (!data.all_zero) {
      const auto bytes = std::make_shared<Bytes>(content(extent));
      data.owner = bytes;
      data.data = *bytes;
    }
    ICBD_TRY(received(data));
  }
  return {};
}

Status FakeSource::encoded_extents(const Digest& asked, std::span<const source::Extent> extents,
                                   const source::EncodedSink& sink) {
  RangeSet awaited;
  for (const source::Extent& extent : extents)
    if (extent.file == FileIndex(0)) awaited.add(extent.range);
  std::vector<ByteRange> taken;
  for (const source::EncodedExtent& extent : encoded) {
    if (!awaited.remove(extent.range)) continue;
    taken.push_back(extent.range);
    ICBD_TRY(sink.encoded(extent));
  }
  std::vector<source::Extent> plain;
  for (const source::Extent& extent : extents) {
    std::uint64_t at = extent.range.offset;
    for (const ByteRange range : taken) {
      const ByteRange part = intersect(range, extent.range);
      if (part.empty() || extent.file != FileIndex(0)) continue;
      if (part.offset > at) plain.push_back({extent.file, {at, part.offset - at}});
      at = part.end();
    }
    if (at < extent.range.end()) plain.push_back({extent.file, {at, extent.range.end() - at}});
  }
  return this->extents(asked, plain, source::Priority::bulk, sink.plain);
}

Result<std::uint64_t> FakeSource::extent_border(const Digest&, FileIndex file,
                                                std::uint64_t offset) {
  for (const source::EncodedExtent& extent : encoded)
    if (extent.file == file && extent.range.offset < offset && offset < extent.range.end())
      return extent.range.offset;
  return offset;
}

Bytes FakeSource::content(const source::Extent& extent) {
  if (is_zero(extent)) return {};
  Bytes bytes(extent.range.length);
  const std::uint64_t seed = extent.file.value() * 31 + extent.range.offset / limits::chunk_size;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(seed + (extent.range.offset + i) * 13);
  return bytes;
}

std::vector<source::Extent> FakeSource::chunks(std::size_t count) {
  constexpr std::size_t chunks_per_file = file_size / limits::chunk_size;
  std::vector<source::Extent> extents;
  for (std::size_t i = 0; i < count; ++i)
    extents.push_back({.file = FileIndex(static_cast<std::uint32_t>(i / chunks_per_file)),
                       .range = {(i % chunks_per_file) * limits::chunk_size, limits::chunk_size}});
  return extents;
}

void FakeSource::hold() {
  const std::lock_guard lock(mutex_);
  held_ = true;
}

void FakeSource::release() {
  const std::lock_guard lock(mutex_);
  held_ = false;
  changed_.notify_all();
}

void FakeSource::wait_for_held(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_ >= count; });
}

void FakeSource::pass_gate() {
  std::unique_lock lock(mutex_);
  if (!held_) return;
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return !held_; });
  --waiting_;
}

}  // namespace icbd::wire::testing
