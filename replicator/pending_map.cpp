#include "icbd/replicator/pending_map.h"

#include <fmt/format.h>

#include "icbd/base/limits.h"

namespace icbd::replicator {
namespace {

constexpr std::string_view magic = "icbdpnd2";
constexpr std::uint32_t no_parent = 0xffffffff;

void write_ranges(ByteWriter& writer, std::span<const ByteRange> ranges) {
  writer.write(static_cast<std::uint32_t>(ranges.size()));
  for (const ByteRange range : ranges) {
    writer.write(range.offset);
    writer.write(range.length);
  }
}

bool read_ranges(ByteReader& reader, std::vector<ByteRange>& ranges) {
  const auto count = reader.read<std::uint32_t>();
  if (count > reader.remaining() / (2 * sizeof(std::uint64_t))) return false;
  ranges.resize(count);
  for (ByteRange& range : ranges) {
    range.offset = reader.read<std::uint64_t>();
    range.length = reader.read<std::uint64_t>();
    if (range.offset > limits::file_size || range.length > limits::file_size) return false;
  }
  return true;
}

}  // namespace

Bytes encode(const PendingMap& map) {
  ByteWriter writer;
  writer.write_bytes(as_bytes(magic));
  writer.write_digest(map.manifest);
  writer.write(static_cast<std::uint8_t>(map.wanted ? 1 : 0));
  writer.write(static_cast<std::uint32_t>(map.lineages.size()));
  for (const sendstream::Lineage& lineage : map.lineages) {
    writer.write(lineage.parent ? lineage.parent->value() : no_parent);
    write_ranges(writer, lineage.updated);
    write_ranges(writer, lineage.rewritten);
  }
  writer.write(static_cast<std::uint64_t>(map.done.size()));
  for (std::size_t i = 0; i < map.done.size(); i += 8) {
    std::uint8_t bits = 0;
    for (std::size_t bit = 0; bit < 8 && i + bit < map.done.size(); ++bit)
      bits = static_cast<std::uint8_t>(bits | (map.done[i + bit] ? 1u << bit : 0u));
    writer.write(bits);
  }
  writer.write_digest(sha256(writer.view()));
  return writer.take();
}

Result<PendingMap> decode_pending_map(ByteView bytes, std::size_t entries, std::uint64_t chunks) {
  const auto refuse = [](std::string_view why) {
    return fail(ErrorCode::corrupt, fmt::format("the pending map {}", why));
  };
  constexpr std::size_t digest_size = sizeof(Digest::bytes);
  if (bytes.size() < magic.size() + digest_size) return refuse("is cut short");
  const ByteView body = bytes.first(bytes.size() - digest_size);
  ByteReader trailer(bytes.last(digest_size));
  if (trailer.read_digest() != sha256(body)) return refuse("does not match its checksum");

  ByteReader reader(body);
  if (as_text(reader.take(magic.size())) != magic) return refuse("has another format");
  PendingMap map;
  map.manifest = reader.read_digest();
  map.wanted = reader.read<std::uint8_t>() != 0;
  if (reader.read<std::uint32_t>() != entries) return refuse("has another number of entries");
  map.lineages.resize(entries);
  for (sendstream::Lineage& lineage : map.lineages) {
    if (const auto parent = reader.read<std::uint32_t>(); parent != no_parent)
      lineage.parent = FileIndex(parent);
    if (!read_ranges(reader, lineage.updated) || !read_ranges(reader, lineage.rewritten))
      return refuse("has a bad range");
  }
  if (reader.read<std::uint64_t>() != chunks) return refuse("has another number of chunks");
  const ByteView bits = reader.take((chunks + 7) / 8);
  if (!reader.complete()) return refuse("has the wrong length");
  map.done.resize(chunks);
  for (std::size_t i = 0; i < chunks; ++i)
    map.done[i] = (std::to_integer<unsigned>(bits[i / 8]) >> (i % 8) & 1) != 0;
  return map;
}

}  // namespace icbd::replicator
