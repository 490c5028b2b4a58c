// Entries and chunks that tests of the manifest are written with.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "icbd/manifest/manifest.h"
#include "icbd/manifest/page_store.h"

namespace icbd::manifest {

inline Entry make_entry(EntryType type, std::string path) {
  Entry entry;
  entry.type = type;
  entry.path = std::move(path);
  entry.mode = type == EntryType::directory ? 0755 : 0644;
  entry.modified = {1'700'000'000, 5};
  return entry;
}

inline Entry make_directory(std::string path) {
  return make_entry(EntryType::directory, std::move(path));
}
inline Entry make_root() {
  return make_directory("");
}

inline Entry make_link(EntryType type, std::string path, std::string target) {
  Entry entry;
  if (type == EntryType::symlink) entry = make_entry(type, "");
  entry.type = type;
  entry.path = std::move(path);
  entry.target = std::move(target);
  return entry;
}

// A digest of its own for each number.
inline Digest digest_of(std::uint64_t number) {
  ByteWriter writer;
  writer.write(number);
  return sha256(writer.view());
}

inline std::vector<Digest> chunks_from(std::uint64_t first, std::size_t count) {
  std::vector<Digest> chunks(count);
  for (std::size_t i = 0; i < count; ++i) chunks[i] = digest_of(first + i);
  return chunks;
}

struct FileWithChunks {
  Entry entry;
  std::vector<Digest> chunks;
};

// A file that is all data. Equal seeds give equal chunks.
inline FileWithChunks make_file(std::string path, std::uint64_t size, std::uint64_t seed = 0) {
  Entry entry = make_entry(EntryType::file, std::move(path));
  entry.size = size;
  entry.data_bytes = size;
  return {entry, chunks_from(seed * 1'000'003, entry.chunk_count())};
}

// As Builder stores it, for files with few chunks.
inline Entry make_small_file(std::string path, std::uint64_t size, std::uint64_t seed = 0) {
  FileWithChunks file = make_file(std::move(path), size, seed);
  file.entry.digests = std::move(file.chunks);
  return file.entry;
}

// One entry of each type, with every field in use.
inline std::vector<Entry> one_of_each() {
  Entry file = make_small_file("etc/passwd", limits::chunk_size + 7);
  file.mode = 06755;
  file.uid = 1000;
  file.gid = 100;
  file.modified = {-1, 999'999'999};
  file.attributes = attribute_immutable | attribute_append_only | attribute_no_dump;
  file.data_bytes = 7;
  file.xattrs = {{"security.capability", Bytes(20, std::byte{1})}, {"user.empty", {}}};
  Entry disk = make_entry(EntryType::block_device, "dev/sda");
  disk.device_major = 8;
  disk.device_minor = 0xfffff;
  return {make_root(),
          make_directory("dev"),
          make_entry(EntryType::character_device, "dev/null"),
          disk,
          make_directory("etc"),
          file,
          make_link(EntryType::hard_link, "etc/passwd-", "etc/passwd"),
          make_entry(EntryType::fifo, "pipe"),
          make_entry(EntryType::socket, "socket"),
          make_link(EntryType::symlink, "symlink", "../\xff anywhere")};
}

// Builds a manifest of entries without digest pages and returns its root.
inline Digest build(PageStore& pages, const std::vector<Entry>& entries) {
  Builder builder(pages);
  for (Entry entry : entries) {
    const std::vector<Digest> chunks = std::exchange(entry.digests, {});
    const Status added = builder.add(std::move(entry), chunks);
    EXPECT_TRUE(added) << added.error().message();
  }
  const auto root = builder.finish();
  EXPECT_TRUE(root) << root.error().message();
  return root.value_or(Digest{});
}

}  // namespace icbd::manifest
