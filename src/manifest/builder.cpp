#include <fmt/format.h>
#include <xxhash.h>

#include "icbd/base/quote.h"
#include "icbd/manifest/manifest.h"

#include "digest_tree.h"
#include "entry.h"
#include "metadata_page.h"
#include "tree_order.h"

namespace icbd::manifest {
namespace {

// A page may end once it has this many bytes, where the path's hash says so: about one entry in 64.
constexpr std::size_t page_length_min = limits::metadata_page_target / 4;
constexpr std::uint64_t boundary_mask = 63;

bool is_boundary(std::string_view path) {
  return (XXH3_64bits(path.data(), path.size()) & boundary_mask) == 0;
}

// Bytes of chunks that are not all zero. Zero chunks are told by their digest.
std::uint64_t count_data_bytes(const Entry& file, std::span<const Digest> chunks) {
  std::uint64_t data_bytes = 0;
  for (std::uint32_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const std::uint64_t length = file.chunk_range(ChunkIndex(chunk)).length;
    if (chunks[chunk] != sha256_of_zeros(length)) data_bytes += length;
  }
  return data_bytes;
}

// Writes the digest pages above the chunks; returns the level that stands in the entry.
Result<std::vector<Digest>> write_digest_tree(PageStore& pages, std::span<const Digest> chunks) {
  const DigestTree tree(static_cast<std::uint32_t>(chunks.size()));
  std::vector<Digest> level(chunks.begin(), chunks.end());
  for (std::uint32_t above = 1; above <= tree.top(); ++above) {
    std::vector<Digest> next;
    next.reserve(tree.count(above));
    for (std::uint32_t page = 0; page < tree.count(above); ++page) {
      const auto part =
          std::span(level).subspan(page * page_digests, tree.count_in_page(above - 1, page));
      ICBD_ASSIGN(const Digest digest, pages.add(encode_digest_page(part)));
      next.push_back(digest);
    }
    level = std::move(next);
  }
  return level;
}

std::unexpected<Error> refuse(ErrorCode code, const Entry& entry, std::string_view reason) {
  return fail(code, fmt::format("manifest entry {}: {}", quote(entry.path), reason));
}

}  // namespace

Builder::Builder(PageStore& pages)
    : pages_(pages),
      order_(std::make_unique<TreeOrder>()),
      page_(std::make_unique<MetadataPageWriter>()) {}

Builder::~Builder() = default;

Status Builder::add(Entry entry, std::span<const Digest> chunks) {
  if (root_.entries == limits::entries_per_version)
    return refuse(ErrorCode::too_large, entry, "over limits::entries_per_version");
  if (entry.size > limits::file_size)
    return refuse(ErrorCode::too_large, entry, "its size is over limits::file_size");
  if (entry.type == EntryType::file && chunks.size() != entry.chunk_count())
    return refuse(ErrorCode::invalid_argument, entry,
                  fmt::format("{} chunks, but {} bytes have {}", chunks.size(), entry.size,
                              entry.chunk_count()));
  if (entry.data_bytes == 0) entry.data_bytes = count_data_bytes(entry, chunks);
  ICBD_ASSIGN(entry.digests, write_digest_tree(pages_, chunks));
  if (const auto fault = entry_fault(entry))
    return refuse(ErrorCode::invalid_argument, entry, *fault);
  if (const std::string_view fault = order_->accept(entry.path, entry.type); !fault.empty())
    return refuse(ErrorCode::invalid_argument, entry, fault);
  return append(entry);
}

Status Builder::append(const Entry& entry) {
  std::uint64_t file_bytes = 0;
  if (__builtin_add_overflow(root_.file_bytes, entry.size, &file_bytes))
    return refuse(ErrorCode::too_large, entry, "the version's files are over 2^64 bytes together");
  Bytes encoded = encode_entry(entry, page_->last_path());
  if (page_->page_size_with(encoded.size()) > limits::manifest_page) {
    ICBD_TRY(flush());
    encoded = encode_entry(entry, "");
    if (page_->page_size_with(encoded.size()) > limits::manifest_page)
      return refuse(
          ErrorCode::too_large, entry,
          fmt::format("{} bytes of metadata are over limits::manifest_page", encoded.size()));
  }
  page_->append(entry.path, encoded);
  root_.entries += 1;
  root_.file_bytes = file_bytes;
  root_.data_bytes += entry.data_bytes;
  if (page_->entry_bytes() >= limits::metadata_page_target ||
      (page_->entry_bytes() >= page_length_min && is_boundary(entry.path)))
    return flush();
  return {};
}

Result<Digest> Builder::finish() {
  if (root_.entries == 0)
    return fail(ErrorCode::invalid_argument, "a manifest needs at least the root directory");
  ICBD_TRY(flush());
  const Bytes root = encode_root(root_);
  if (root.size() > limits::manifest_root)
    return fail(
        ErrorCode::too_large,
        fmt::format("the manifest's root has {} bytes, over limits::manifest_root", root.size()));
  return pages_.add(root);
}

Status Builder::flush() {
  if (page_->entries() == 0) return {};
  const std::uint32_t entries = page_->entries();
  ICBD_ASSIGN(const Digest digest, pages_.add(page_->take()));
  root_.pages.push_back({digest, entries});
  return {};
}

}  // namespace icbd::manifest
