#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "icbd/base/quote.h"
#include "icbd/manifest/manifest.h"

#include "digest_tree.h"
#include "tree_order.h"

namespace icbd::manifest {
namespace {

std::unexpected<Error> corrupt(std::string message) {
  return fail(ErrorCode::corrupt, "manifest: " + std::move(message));
}

std::unexpected<Error> corrupt_entry(const Entry& entry, std::string_view reason) {
  return corrupt(fmt::format("entry {}: {}", quote(entry.path), reason));
}

bool can_be_linked(EntryType type) {
  return type != EntryType::directory && type != EntryType::hard_link;
}

Status check_order(std::span<const Entry> entries) {
  TreeOrder order;
  for (const Entry& entry : entries)
    if (const auto fault = order.accept(entry.path, entry.type); !fault.empty())
      return corrupt_entry(entry, fault);
  return {};
}

// The entries are in path order, and a hard link names an earlier one (checked in its page).
Status check_hard_links(std::span<const Entry> entries) {
  for (const Entry& entry : entries) {
    if (entry.type != EntryType::hard_link) continue;
    const auto first = std::ranges::lower_bound(entries, entry.target, path_less, &Entry::path);
    if (first == entries.end() || first->path != entry.target)
      return corrupt_entry(entry,
                           fmt::format("its first name {} is not there", quote(entry.target)));
    if (!can_be_linked(first->type))
      return corrupt_entry(entry,
                           fmt::format("{} is nothing that can be linked", quote(entry.target)));
  }
  return {};
}

Status check_sums(std::span<const Entry> entries, const Root& root) {
  std::uint64_t file_bytes = 0;
  std::uint64_t data_bytes = 0;
  for (const Entry& entry : entries) {
    if (__builtin_add_overflow(file_bytes, entry.size, &file_bytes))
      return corrupt("its files are over 2^64 bytes together");
    data_bytes += entry.data_bytes;  // never more than file_bytes
  }
  if (file_bytes != root.file_bytes || data_bytes != root.data_bytes)
    return corrupt(
        fmt::format("the root counts {} bytes, {} of them data, but the entries {} and {}",
                    root.file_bytes, root.data_bytes, file_bytes, data_bytes));
  return {};
}

Result<std::vector<Digest>> read_digest_page(const PageStore& pages, const Digest& digest,
                                             std::uint32_t expected, Digest* missing) {
  auto page = pages.find(digest);
  if (!page) {
    if (missing && page.error().code() == ErrorCode::not_found) *missing = digest;
    return std::unexpected(std::move(page).error());
  }
  ICBD_ASSIGN(auto digests, decode_digest_page(*page));
  if (digests.size() != expected)
    return corrupt(fmt::format("digest page {} has {} digests, not {}", digest.to_string(),
                               digests.size(), expected));
  return digests;
}

// A part of one level of a file's digest tree.
struct Run {
  std::uint32_t level;
  std::uint32_t first;
  std::uint32_t count;
};

// Walks from the entry down to the run's level; reads each page on the way once.
Result<std::vector<Digest>> read_run(const PageStore& pages, const DigestTree& tree,
                                     const Entry& file, Run run, Digest* missing) {
  if (run.count == 0) return std::vector<Digest>();
  if (run.level == tree.top()) {
    const auto part = std::span(file.digests).subspan(run.first, run.count);
    return std::vector<Digest>(part.begin(), part.end());
  }
  const auto fanout = static_cast<std::uint32_t>(page_digests);
  const std::uint32_t end = run.first + run.count;
  const std::uint32_t first_page = run.first / fanout;
  const Run above{run.level + 1, first_page, (end - 1) / fanout - first_page + 1};
  ICBD_ASSIGN(const auto page_names, read_run(pages, tree, file, above, missing));
  std::vector<Digest> digests;
  digests.reserve(run.count);
  for (std::uint32_t i = 0; i < above.count; ++i) {
    const std::uint32_t page = first_page + i;
    const std::uint32_t begin_of_page = page * fanout;
    const std::uint32_t in_page = tree.count_in_page(run.level, page);
    ICBD_ASSIGN(const auto content, read_digest_page(pages, page_names[i], in_page, missing));
    const std::uint32_t from = std::max(run.first, begin_of_page) - begin_of_page;
    const std::uint32_t to = std::min(end - begin_of_page, in_page);
    digests.insert(digests.end(), content.begin() + from, content.begin() + to);
  }
  return digests;
}

Status check_tree(const DigestTree& tree, const Entry& file) {
  if (file.digests.size() != tree.top_count())
    return fail(ErrorCode::invalid_argument,
                fmt::format("manifest entry {} has {} digests, not {}", quote(file.path),
                            file.digests.size(), tree.top_count()));
  return {};
}

// A digest page and how many chunks it stands for, which says how many digests it and all below
// it must have.
struct PageReference {
  Digest digest;
  std::uint32_t chunks;
};

// Splits `chunks` over the digests of a level: each but the last stands for `chunks_each`. Equal
// pages (those of zeros above all) are kept once.
std::vector<PageReference> distinct_pages(std::span<const Digest> digests, std::uint32_t chunks,
                                          std::uint64_t chunks_each,
                                          std::unordered_set<Digest>& seen) {
  std::vector<PageReference> pages;
  for (std::uint64_t i = 0; i < digests.size(); ++i) {
    const std::uint64_t covered = std::min<std::uint64_t>(chunks_each, chunks - i * chunks_each);
    if (seen.insert(digests[i]).second)
      pages.push_back({digests[i], static_cast<std::uint32_t>(covered)});
  }
  return pages;
}

}  // namespace

Result<Reader> Reader::open(const PageStore& pages, const Digest& root) {
  ICBD_ASSIGN(const Bytes page, pages.find(root));
  ICBD_ASSIGN(Root decoded, decode_root(page));
  return Reader(pages, std::move(decoded));
}

std::vector<Digest> Reader::missing_metadata() const {
  std::vector<Digest> missing;
  for (const Root::MetadataPage& page : root_.pages)
    if (!pages_->contains(page.digest)) missing.push_back(page.digest);
  return missing;
}

Result<std::vector<Entry>> Reader::entries() const {
  std::vector<Entry> entries;
  for (const Root::MetadataPage& page : root_.pages) {
    ICBD_ASSIGN(const Bytes bytes, pages_->find(page.digest));
    ICBD_ASSIGN(auto part, decode_metadata_page(bytes));
    if (part.size() != page.entries)
      return corrupt(fmt::format("metadata page {} has {} entries, but the root says {}",
                                 page.digest.to_string(), part.size(), page.entries));
    std::ranges::move(part, std::back_inserter(entries));
  }
  ICBD_TRY(check_order(entries));
  ICBD_TRY(check_hard_links(entries));
  ICBD_TRY(check_sums(entries, root_));
  return entries;
}

Result<Digest> Reader::chunk_digest(const Entry& file, ChunkIndex chunk, Digest* missing) const {
  ICBD_ASSIGN(const auto digests, chunk_digests(file, chunk, 1, missing));
  return digests.front();
}

Result<std::vector<Digest>> Reader::chunk_digests(const Entry& file, ChunkIndex first,
                                                  std::uint32_t count, Digest* missing) const {
  const std::uint32_t chunks = file.chunk_count();
  if (first.value() > chunks || count > chunks - first.value())
    return fail(ErrorCode::invalid_argument,
                fmt::format("manifest entry {} has {} chunks; {} from {} were asked for",
                            quote(file.path), chunks, count, first.value()));
  const DigestTree tree(chunks);
  ICBD_TRY(check_tree(tree, file));
  return read_run(*pages_, tree, file, {0, first.value(), count}, missing);
}

Result<std::vector<Digest>> Reader::missing_digest_pages(const Entry& file) const {
  const std::uint32_t chunks = file.chunk_count();
  const DigestTree tree(chunks);
  ICBD_TRY(check_tree(tree, file));
  if (tree.top() == 0) return std::vector<Digest>();

  std::uint64_t chunks_each = 1;
  for (std::uint32_t level = 0; level < tree.top(); ++level) chunks_each *= page_digests;
  std::unordered_set<Digest> seen;
  std::vector<PageReference> pages = distinct_pages(file.digests, chunks, chunks_each, seen);
  while (true) {
    std::vector<Digest> missing;
    for (const PageReference& page : pages)
      if (!pages_->contains(page.digest)) missing.push_back(page.digest);
    chunks_each /= page_digests;
    if (!missing.empty() || chunks_each == 1) return missing;  // below are the chunks themselves
    std::vector<PageReference> below;
    seen.clear();
    for (const PageReference& page : pages) {
      const auto expected =
          static_cast<std::uint32_t>((page.chunks + chunks_each - 1) / chunks_each);
      ICBD_ASSIGN(const auto digests, read_digest_page(*pages_, page.digest, expected, nullptr));
      std::ranges::move(distinct_pages(digests, page.chunks, chunks_each, seen),
                        std::back_inserter(below));
    }
    pages = std::move(below);
  }
}

}  // namespace icbd::manifest
