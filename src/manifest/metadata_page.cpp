#include "metadata_page.h"

#include <algorithm>
#include <utility>

#include "icbd/base/quote.h"

#include "entry.h"
#include "page_header.h"

namespace icbd::manifest {
namespace {

constexpr std::size_t digest_length = sizeof(Digest::bytes);
// Kind, format version and entry count.
constexpr std::size_t header_length = 6;
// The fewest bytes that an entry can take: a hard link with one new byte of path and a target of
// one byte.
constexpr std::size_t entry_length_min = 9;
// Only the last entry of a page may reach beyond the target: so few bytes cannot unfold into a
// great many long paths.
constexpr std::size_t entries_max = limits::metadata_page_target / entry_length_min + 1;

static_assert(limits::path_length <= UINT16_MAX && limits::xattrs_per_file <= UINT16_MAX &&
                  limits::xattr_name_length <= UINT8_MAX && inline_digests <= UINT8_MAX,
              "the fields below hold what the limits allow");

std::size_t shared_prefix(std::string_view path, std::string_view previous) {
  const auto [end, unused] = std::ranges::mismatch(path, previous);
  return static_cast<std::size_t>(end - path.begin());
}

void write_short_text(ByteWriter& writer, std::string_view text) {
  writer.write(static_cast<std::uint16_t>(text.size()));
  writer.write_bytes(as_bytes(text));
}

void write_xattrs(ByteWriter& writer, std::span<const Xattr> xattrs) {
  writer.write(static_cast<std::uint16_t>(xattrs.size()));
  for (const Xattr& xattr : xattrs) {
    writer.write(static_cast<std::uint8_t>(xattr.name.size()));
    writer.write_bytes(as_bytes(xattr.name));
    writer.write_sized(xattr.value);
  }
}

void write_inode(ByteWriter& writer, const Entry& entry) {
  writer.write(static_cast<std::uint16_t>(entry.mode));
  writer.write(entry.uid);
  writer.write(entry.gid);
  writer.write(entry.modified.seconds);
  writer.write(entry.modified.nanoseconds);
  writer.write(static_cast<std::uint8_t>(entry.attributes));
  write_xattrs(writer, entry.xattrs);
}

void write_content(ByteWriter& writer, const Entry& entry) {
  switch (entry.type) {
    case EntryType::file:
      writer.write(entry.size);
      writer.write(entry.data_bytes);
      writer.write(static_cast<std::uint8_t>(entry.digests.size()));
      for (const Digest& digest : entry.digests) writer.write_digest(digest);
      return;
    case EntryType::symlink:
    case EntryType::hard_link:
      write_short_text(writer, entry.target);
      return;
    case EntryType::character_device:
    case EntryType::block_device:
      writer.write(entry.device_major);
      writer.write(entry.device_minor);
      return;
    case EntryType::directory:
    case EntryType::fifo:
    case EntryType::socket:
      return;
  }
}

// Why an entry cannot be read; which one it is is added by the caller.
using Fault = std::optional<std::string>;

Fault read_path(ByteReader& reader, std::string_view previous, Entry& entry) {
  const auto shared = reader.read<std::uint16_t>();
  const std::string_view rest = as_text(reader.take(reader.read<std::uint16_t>()));
  if (shared > previous.size()) return "shares more of its path than the entry before has";
  // One content, one encoding: whatever can be shared is shared.
  if (shared < previous.size() && !rest.empty() && rest.front() == previous[shared])
    return "shares less of its path than it could";
  if (shared + rest.size() > limits::path_length) return "a path over limits::path_length";
  entry.path.reserve(shared + rest.size());
  entry.path.append(previous.substr(0, shared)).append(rest);
  return {};
}

Fault read_xattrs(ByteReader& reader, Entry& entry) {
  const auto count = reader.read<std::uint16_t>();
  if (count > limits::xattrs_per_file)
    return fmt::format("{} extended attributes, more than limits::xattrs_per_file", count);
  for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
    Xattr& xattr = entry.xattrs.emplace_back();
    xattr.name = as_text(reader.take(reader.read<std::uint8_t>()));
    const auto length = reader.read<std::uint32_t>();
    if (length > limits::xattr_value_length)
      return "an extended attribute over limits::xattr_value_length";
    const ByteView value = reader.take(length);
    xattr.value.assign(value.begin(), value.end());
  }
  return {};
}

Fault read_inode(ByteReader& reader, Entry& entry) {
  entry.mode = reader.read<std::uint16_t>();
  entry.uid = reader.read<std::uint32_t>();
  entry.gid = reader.read<std::uint32_t>();
  entry.modified.seconds = reader.read<std::int64_t>();
  entry.modified.nanoseconds = reader.read<std::uint32_t>();
  entry.attributes = reader.read<std::uint8_t>();
  return read_xattrs(reader, entry);
}

void read_content(ByteReader& reader, Entry& entry) {
  switch (entry.type) {
    case EntryType::file: {
      entry.size = reader.read<std::uint64_t>();
      entry.data_bytes = reader.read<std::uint64_t>();
      const auto count = reader.read<std::uint8_t>();
      if (count > reader.remaining() / digest_length) {
        reader.take(reader.remaining() + 1);  // fails: there are fewer
        return;
      }
      entry.digests.resize(count);
      for (Digest& digest : entry.digests) digest = reader.read_digest();
      return;
    }
    case EntryType::symlink:
    case EntryType::hard_link:
      entry.target = as_text(reader.take(reader.read<std::uint16_t>()));
      return;
    case EntryType::character_device:
    case EntryType::block_device:
      entry.device_major = reader.read<std::uint32_t>();
      entry.device_minor = reader.read<std::uint32_t>();
      return;
    case EntryType::directory:
    case EntryType::fifo:
    case EntryType::socket:
      return;
  }
}

Fault read_entry(ByteReader& reader, const Entry* previous, Entry& entry) {
  const std::string_view previous_path = previous ? std::string_view(previous->path) : "";
  if (Fault fault = read_path(reader, previous_path, entry)) return fault;
  entry.type = static_cast<EntryType>(reader.read<std::uint8_t>());
  if (entry.type != EntryType::hard_link)
    if (Fault fault = read_inode(reader, entry)) return fault;
  read_content(reader, entry);
  if (reader.failed()) return "cut short";
  if (previous && !path_less(previous->path, entry.path)) return "not in path order";
  return entry_fault(entry);
}

}  // namespace

Bytes encode_entry(const Entry& entry, std::string_view previous) {
  ByteWriter writer;
  const std::size_t shared = shared_prefix(entry.path, previous);
  writer.write(static_cast<std::uint16_t>(shared));
  write_short_text(writer, std::string_view(entry.path).substr(shared));
  writer.write(static_cast<std::uint8_t>(entry.type));
  if (entry.type != EntryType::hard_link) write_inode(writer, entry);
  write_content(writer, entry);
  return writer.take();
}

void MetadataPageWriter::append(std::string_view path, ByteView encoded) {
  body_.write_bytes(encoded);
  last_path_ = path;
  ++entries_;
}

std::size_t MetadataPageWriter::page_size_with(std::size_t more) const {
  return header_length + body_.size() + more;
}

Bytes MetadataPageWriter::take() {
  ByteWriter page;
  write_page_header(page, PageKind::metadata);
  page.write(std::exchange(entries_, 0));
  page.write_bytes(body_.take());
  body_ = ByteWriter();
  last_path_.clear();
  return page.take();
}

Bytes encode_metadata_page(std::span<const Entry> entries) {
  MetadataPageWriter page;
  for (const Entry& entry : entries) page.add(entry);
  return page.take();
}

Result<std::vector<Entry>> decode_metadata_page(ByteView bytes) {
  if (bytes.size() > limits::manifest_page)
    return corrupt(PageKind::metadata,
                   fmt::format("{} bytes are over limits::manifest_page", bytes.size()));
  ByteReader reader(bytes);
  ICBD_TRY(read_page_header(reader, PageKind::metadata));
  const auto count = reader.read<std::uint32_t>();
  if (reader.failed()) return corrupt(PageKind::metadata, "cut short");
  if (count == 0 || count > entries_max)
    return corrupt(PageKind::metadata,
                   fmt::format("{} entries are not 1 to {}", count, entries_max));
  std::vector<Entry> entries;
  entries.reserve(std::min<std::size_t>(count, reader.remaining() / entry_length_min));
  for (std::uint32_t i = 0; i < count; ++i) {
    if (bytes.size() - reader.remaining() >= header_length + limits::metadata_page_target)
      return corrupt(PageKind::metadata, "goes on after limits::metadata_page_target");
    Entry entry;
    if (const Fault fault = read_entry(reader, i == 0 ? nullptr : &entries.back(), entry))
      return corrupt(PageKind::metadata,
                     fmt::format("entry {} {}: {}", i, quote(entry.path), *fault));
    entries.push_back(std::move(entry));
  }
  if (!reader.complete())
    return corrupt(PageKind::metadata,
                   fmt::format("{} bytes after the last entry", reader.remaining()));
  return entries;
}

}  // namespace icbd::manifest
