// Encoding of the root and of digest pages; metadata pages are in metadata_page.cpp.
#include <cassert>

#include "icbd/manifest/manifest.h"

#include "page_header.h"

namespace icbd::manifest {
namespace {

constexpr std::size_t digest_length = sizeof(Digest::bytes);
constexpr std::size_t root_page_length = digest_length + sizeof(std::uint32_t);

Status check_sums(const Root& root) {
  std::uint64_t entries = 0;
  for (const Root::MetadataPage& page : root.pages) {
    if (page.entries == 0) return corrupt(PageKind::root, "a metadata page without entries");
    entries += page.entries;
  }
  if (entries != root.entries)
    return corrupt(PageKind::root, fmt::format("{} entries, but its metadata pages have {}",
                                               root.entries, entries));
  if (root.entries == 0) return corrupt(PageKind::root, "no entries, not even the root directory");
  if (root.entries > limits::entries_per_version)
    return corrupt(PageKind::root,
                   fmt::format("{} entries are over limits::entries_per_version", root.entries));
  if (root.data_bytes > root.file_bytes)
    return corrupt(PageKind::root, "more bytes of data than bytes of files");
  return {};
}

}  // namespace

Bytes encode_root(const Root& root) {
  ByteWriter writer;
  write_page_header(writer, PageKind::root);
  writer.write(root.entries);
  writer.write(root.file_bytes);
  writer.write(root.data_bytes);
  writer.write(static_cast<std::uint32_t>(root.pages.size()));
  for (const Root::MetadataPage& page : root.pages) {
    writer.write_digest(page.digest);
    writer.write(page.entries);
  }
  return writer.take();
}

Result<Root> decode_root(ByteView bytes) {
  if (bytes.size() > limits::manifest_root)
    return corrupt(PageKind::root,
                   fmt::format("{} bytes are over limits::manifest_root", bytes.size()));
  ByteReader reader(bytes);
  ICBD_TRY(read_page_header(reader, PageKind::root));
  Root root;
  root.entries = reader.read<std::uint32_t>();
  root.file_bytes = reader.read<std::uint64_t>();
  root.data_bytes = reader.read<std::uint64_t>();
  const auto pages = reader.read<std::uint32_t>();
  if (reader.failed()) return corrupt(PageKind::root, "cut short");
  if (reader.remaining() != std::uint64_t{pages} * root_page_length)
    return corrupt(PageKind::root, fmt::format("{} metadata pages do not fit the {} bytes left",
                                               pages, reader.remaining()));
  root.pages.resize(pages);
  for (Root::MetadataPage& page : root.pages) {
    page.digest = reader.read_digest();
    page.entries = reader.read<std::uint32_t>();
  }
  ICBD_TRY(check_sums(root));
  return root;
}

Bytes encode_digest_page(std::span<const Digest> digests) {
  assert(!digests.empty() && digests.size() <= page_digests);
  ByteWriter writer;
  write_page_header(writer, PageKind::digests);
  for (const Digest& digest : digests) writer.write_digest(digest);
  return writer.take();
}

Result<std::vector<Digest>> decode_digest_page(ByteView bytes) {
  ByteReader reader(bytes);
  ICBD_TRY(read_page_header(reader, PageKind::digests));
  const std::size_t count = reader.remaining() / digest_length;
  if (count == 0 || count > page_digests || reader.remaining() % digest_length != 0)
    return corrupt(PageKind::digests, fmt::format("{} bytes are not 1 to {} digests",
                                                  reader.remaining(), page_digests));
  std::vector<Digest> digests(count);
  for (Digest& digest : digests) digest = reader.read_digest();
  return digests;
}

}  // namespace icbd::manifest
