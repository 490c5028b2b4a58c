#include "content_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "icbd/base/quote.h"

#include "tree_walk.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;

// Counts, and remembers the first few by name.
class Differences {
 public:
  explicit Differences(std::string_view what) : what_(what) {}

  void add(const std::string& difference) {
    constexpr std::uint64_t named_max = 3;
    if (count_ < named_max) named_ += (count_ == 0 ? "" : ", ") + difference;
    if (count_++ == named_max) named_ += ", ...";
  }
  std::string describe() const {
    return count_ == 0 ? "" : fmt::format("{} {}: {}", count_, what_, named_);
  }

 private:
  std::string_view what_;
  std::uint64_t count_ = 0;
  std::string named_;
};

// What a walk does not know of an entry.
Entry without_digests(Entry entry) {
  entry.digests.clear();
  entry.data_bytes = 0;
  return entry;
}

std::string differing_field(const Entry& expected, const Entry& found) {
  if (expected.type != found.type) return "type";
  if (expected.size != found.size) return "size";
  if (expected.mode != found.mode) return "mode";
  if (expected.uid != found.uid || expected.gid != found.gid) return "owner";
  if (expected.modified != found.modified) return "modification time";
  if (expected.target != found.target) return "target";
  if (expected.xattrs != found.xattrs) return "extended attributes";
  if (expected.attributes != found.attributes) return "attributes";
  return "device number";
}

// Both in manifest order.
std::string compare(const std::vector<Entry>& expected, const std::vector<Entry>& found) {
  Differences differences("names differ");
  auto left = expected.begin(), right = found.begin();
  while (left != expected.end() || right != found.end()) {
    if (right == found.end() ||
        (left != expected.end() && manifest::path_less(left->path, right->path))) {
      differences.add(quote(left->path) + " is missing");
      ++left;
    } else if (left == expected.end() || manifest::path_less(right->path, left->path)) {
      differences.add(quote(right->path) + " should not be there");
      ++right;
    } else {
      if (const Entry entry = without_digests(*left); entry != *right)
        differences.add(
            fmt::format("{} has another {}", quote(entry.path), differing_field(entry, *right)));
      ++left;
      ++right;
    }
  }
  return differences.describe();
}

Status hash_one(int root_fd, FileChunks& file, HashProgress progress) {
  ICBD_TRY(hash_unknown_chunks(root_fd, std::span(&file, 1), progress));
  return {};
}

// Together, with several threads; one by one where something cannot be read, to find out what.
void hash(int root_fd, std::vector<FileChunks>& files, HashProgress progress,
          Differences& differences) {
  const std::uint64_t done = progress.bytes_done;
  if (hash_unknown_chunks(root_fd, files, progress)) return;
  progress.bytes_done = done;
  std::erase_if(files, [&](FileChunks& file) {
    const Status hashed = hash_one(root_fd, file, progress);
    if (!hashed) differences.add(hashed.error().message());
    return !hashed;
  });
}

}  // namespace

Status check_manifest_pages(const manifest::PageStore& pages, const Digest& manifest) {
  ICBD_ASSIGN(const auto reader, manifest::Reader::open(pages, manifest));
  ICBD_ASSIGN(const auto entries, reader.entries());
  for (const Entry& entry : entries)
    if (entry.type == EntryType::file)
      ICBD_TRY(reader.chunk_digests(entry, ChunkIndex(0), entry.chunk_count()));
  return {};
}

Result<std::string> metadata_differences(int root_fd, const manifest::Reader& reader) {
  ICBD_ASSIGN(const auto expected, reader.entries());
  const auto walked = walk_tree(root_fd);
  if (!walked) return walked.error().message();
  return compare(expected, walked->entries);
}

Result<std::string> data_differences(int root_fd, const manifest::Reader& reader,
                                     HashProgress progress) {
  ICBD_ASSIGN(const auto expected, reader.entries());
  const auto walked = walk_tree(root_fd);
  if (!walked) return walked.error().message();
  std::unordered_map<std::string_view, const Entry*> by_path;
  for (const Entry& entry : expected)
    if (entry.type == EntryType::file) by_path.emplace(entry.path, &entry);
  std::vector<FileChunks> files;
  for (const Entry& entry : walked->entries) {
    const auto known = by_path.find(entry.path);
    if (entry.type == EntryType::file && known != by_path.end() &&
        known->second->size == entry.size)
      files.emplace_back(entry);
  }

  Differences differences("places differ");
  hash(root_fd, files, progress, differences);
  for (const FileChunks& file : files) {
    const Entry& entry = *by_path.at(file.entry->path);
    ICBD_ASSIGN(const auto digests,
                reader.chunk_digests(entry, ChunkIndex(0), entry.chunk_count()));
    for (std::uint32_t chunk = 0; chunk < entry.chunk_count(); ++chunk)
      if (digests[chunk] != file.digests[chunk])
        differences.add(fmt::format("{} at {}", quote(entry.path),
                                    entry.chunk_range(ChunkIndex(chunk)).offset));
  }
  return differences.describe();
}

}  // namespace icbd::repository
