#include "messages.h"

#include <fmt/format.h>

#include "icbd/base/limits.h"
#include "icbd/catalog/names.h"
#include "icbd/wire/frame.h"

namespace icbd::wire {
namespace {

constexpr std::uint32_t all_zero_flag = 1;
constexpr std::size_t extent_size = 4 + 8 + 4;      // file, offset, length
constexpr std::size_t smallest_version_size = 128;  // facts with an empty name and message
constexpr std::size_t smallest_tag_size = 4 + 1 + 4 + 1 + 4;
constexpr std::size_t table_row_size = extent_size + 4;  // and flags
constexpr std::size_t encoded_row_size = extent_size + 5 * 4;

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::corrupt, fmt::format("a malformed {} came over the network", what));
}

template <typename Enumeration>
bool is_between(std::uint8_t value, Enumeration first, Enumeration last) {
  return value >= static_cast<std::uint8_t>(first) && value <= static_cast<std::uint8_t>(last);
}

// An optional value: a byte 0 or 1, then the value if 1.
template <typename Value, typename Write>
void write_optional(ByteWriter& writer, const std::optional<Value>& value, Write write) {
  writer.write(static_cast<std::uint8_t>(value.has_value()));
  if (value) write(*value);
}

// False if the presence byte is neither 0 nor 1.
template <typename Value, typename Read>
bool read_optional(ByteReader& reader, std::optional<Value>& value, Read read) {
  const auto present = reader.read<std::uint8_t>();
  if (present == 1) value = read();
  return present <= 1;
}

// A count of items that are at least `item_size` bytes each: never more than the payload holds.
std::optional<std::size_t> read_count(ByteReader& reader, std::size_t item_size,
                                      std::size_t limit) {
  const std::size_t count = reader.read<std::uint32_t>();
  if (reader.failed() || count > limit || count > reader.remaining() / item_size)
    return std::nullopt;
  return count;
}

struct EncodedLengths {
  std::uint32_t packed = 0;  // with the zeros at its end
  std::uint32_t sent = 0;
};

// Nothing is said of whether it unpacks to what it should.
bool is_possible(const source::EncodedExtent& extent, const EncodedLengths& lengths) {
  const auto [offset, length] = extent.range;
  return length != 0 && offset <= limits::file_size - length && lengths.packed != 0 &&
         lengths.packed <= limits::extent_length && lengths.sent <= lengths.packed &&
         extent.unencoded_length <= limits::extent_length &&
         extent.unencoded_offset < extent.unencoded_length &&
         length <= extent.unencoded_length - extent.unencoded_offset;
}

void write_extent(ByteWriter& writer, const source::Extent& extent) {
  writer.write(extent.file.value());
  writer.write(extent.range.offset);
  writer.write(static_cast<std::uint32_t>(extent.range.length));
}

source::Extent read_extent(ByteReader& reader) {
  source::Extent extent;
  extent.file = FileIndex(reader.read<std::uint32_t>());
  extent.range.offset = reader.read<std::uint64_t>();
  extent.range.length = reader.read<std::uint32_t>();
  return extent;
}

void write_timestamp(ByteWriter& writer, Timestamp timestamp) {
  writer.write(timestamp.seconds);
  writer.write(timestamp.nanoseconds);
}

Timestamp read_timestamp(ByteReader& reader) {
  Timestamp timestamp;
  timestamp.seconds = reader.read<std::int64_t>();
  timestamp.nanoseconds = reader.read<std::uint32_t>();
  return timestamp;
}

void write_facts(ByteWriter& writer, const catalog::VersionFacts& facts) {
  writer.write_text(facts.image);
  writer.write(facts.number.value());
  writer.write_uuid(facts.uuid);
  writer.write_digest(facts.manifest);
  // A version's number is never 0: it stands for "no parent".
  writer.write(facts.parent.value_or(VersionNumber(0)).value());
  writer.write_text(facts.message);
  write_timestamp(writer, facts.published);
  writer.write(facts.root.mode);
  writer.write(facts.root.uid);
  writer.write(facts.root.gid);
  write_timestamp(writer, facts.root.modified);
  writer.write(facts.entries);
  writer.write(facts.file_bytes);
  writer.write(facts.data_bytes);
  writer.write(facts.send_transaction);
  writer.write_text(facts.boot_directory);
  writer.write_text(facts.target_file);
}

Result<catalog::VersionFacts> read_facts(ByteReader& reader) {
  catalog::VersionFacts facts;
  facts.image = reader.read_text(limits::image_name_length);
  facts.number = VersionNumber(reader.read<std::uint32_t>());
  facts.uuid = reader.read_uuid();
  facts.manifest = reader.read_digest();
  if (const auto parent = reader.read<std::uint32_t>(); parent != 0)
    facts.parent = VersionNumber(parent);
  facts.message = reader.read_text(limits::message_length);
  facts.published = read_timestamp(reader);
  facts.root.mode = reader.read<std::uint32_t>();
  facts.root.uid = reader.read<std::uint32_t>();
  facts.root.gid = reader.read<std::uint32_t>();
  facts.root.modified = read_timestamp(reader);
  facts.entries = reader.read<std::uint32_t>();
  facts.file_bytes = reader.read<std::uint64_t>();
  facts.data_bytes = reader.read<std::uint64_t>();
  facts.send_transaction = reader.read<std::uint64_t>();
  facts.boot_directory = reader.read_text(limits::path_length);
  facts.target_file = reader.read_text(limits::path_length);
  constexpr std::uint32_t nanoseconds_per_second = 1'000'000'000;
  if (reader.failed() || facts.number.value() == 0 || facts.uuid.is_null() ||
      (facts.root.mode & ~07777u) != 0 || facts.published.nanoseconds >= nanoseconds_per_second ||
      facts.root.modified.nanoseconds >= nanoseconds_per_second ||
      facts.entries > limits::entries_per_version)
    return malformed("version");
  if (!catalog::check_image_name(facts.image)) return malformed("image name");
  if (!catalog::check_marked_path(facts.boot_directory) ||
      !catalog::check_marked_path(facts.target_file))
    return malformed("path within a version");
  return facts;
}

Result<source::CatalogSnapshot> read_snapshot(ByteReader& reader) {
  source::CatalogSnapshot snapshot;
  snapshot.repository = reader.read_uuid();
  snapshot.epoch = reader.read_uuid();
  snapshot.session = reader.read_uuid();
  snapshot.change_number = reader.read<std::uint64_t>();
  const auto images = read_count(reader, sizeof(std::uint32_t) + 1, catalog_images);
  if (!images) return malformed("catalog");
  snapshot.images.reserve(*images);
  for (std::size_t i = 0; i < *images; ++i) {
    snapshot.images.push_back(reader.read_text(limits::image_name_length));
    if (!catalog::check_image_name(snapshot.images.back())) return malformed("image name");
  }
  const auto versions = read_count(reader, smallest_version_size, limits::version_serial);
  if (!versions) return malformed("catalog");
  snapshot.versions.reserve(*versions);
  for (std::size_t i = 0; i < *versions; ++i) {
    ICBD_ASSIGN(auto facts, read_facts(reader));
    snapshot.versions.push_back(std::move(facts));
  }
  const auto tags = read_count(reader, smallest_tag_size, limits::version_serial);
  if (!tags) return malformed("catalog");
  snapshot.tags.reserve(*tags);
  for (std::size_t i = 0; i < *tags; ++i) {
    catalog::Tag tag{.image = reader.read_text(limits::image_name_length),
                     .name = reader.read_text(limits::image_name_length),
                     .number = VersionNumber(reader.read<std::uint32_t>())};
    if (reader.failed() || !catalog::check_image_name(tag.image) ||
        !catalog::check_tag_name(tag.name) || tag.number.value() == 0)
      return malformed("tag");
    snapshot.tags.push_back(std::move(tag));
  }
  return snapshot;
}

}  // namespace

std::string_view to_string(ChannelKind kind) {
  switch (kind) {
    case ChannelKind::control:
      return "control";
    case ChannelKind::demand:
      return "demand";
    case ChannelKind::bulk:
      return "bulk";
  }
  return "unknown";
}

Bytes encode(const Hello& hello) {
  ByteWriter writer;
  writer.write(hello.protocol);
  writer.write(static_cast<std::uint8_t>(hello.role));
  writer.write(static_cast<std::uint8_t>(hello.channel));
  writer.write_text(std::string_view(hello.node_name).substr(0, limits::name_length));
  writer.write_text(hello.packing ? codec::to_string(*hello.packing) : "");
  writer.write(static_cast<std::uint32_t>(hello.unpacks.size()));
  for (const codec::Algorithm algorithm : hello.unpacks)
    writer.write(static_cast<std::uint8_t>(algorithm));
  return writer.take();
}

Result<Hello> decode_hello(ByteView payload) {
  ByteReader reader(payload);
  Hello hello;
  hello.protocol = reader.read<std::uint16_t>();
  if (reader.failed()) return malformed("hello");
  if (hello.protocol != protocol_version) return hello;
  const auto role = reader.read<std::uint8_t>();
  const auto channel = reader.read<std::uint8_t>();
  hello.node_name = reader.read_text(limits::name_length);
  // It goes into logs and answers as it is.
  const auto is_control = [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; };
  if (std::ranges::any_of(hello.node_name, is_control)) return malformed("name of a node");
  const std::string packing = reader.read_text(hello_setting_length);
  const auto algorithms = read_count(reader, 1, hello_algorithms);
  if (!algorithms) return malformed("hello");
  for (std::size_t i = 0; i < *algorithms; ++i)
    if (const auto known = codec::parse_algorithm(reader.read<std::uint8_t>()))
      hello.unpacks.push_back(*known);
  if (!packing.empty()) {
    // A setting that only a later release has: it gets what suits the link instead.
    if (const auto setting = codec::parse_setting(packing)) hello.packing = *setting;
  }
  if (!reader.complete() || !is_between(role, NodeRole::master, NodeRole::cache) ||
      !is_between(channel, ChannelKind::control, ChannelKind::bulk))
    return malformed("hello");
  hello.role = static_cast<NodeRole>(role);
  hello.channel = static_cast<ChannelKind>(channel);
  return hello;
}

Bytes encode(const CatalogRequest& request) {
  ByteWriter writer;
  write_optional(writer, request.known, [&](const source::KnownCatalog& known) {
    writer.write_uuid(known.session);
    writer.write(known.change_number);
  });
  return writer.take();
}

Result<CatalogRequest> decode_catalog_request(ByteView payload) {
  ByteReader reader(payload);
  CatalogRequest request;
  const auto read_known = [&] {
    source::KnownCatalog known;
    known.session = reader.read_uuid();
    known.change_number = reader.read<std::uint64_t>();
    return known;
  };
  if (!read_optional(reader, request.known, read_known) || !reader.complete())
    return malformed("catalog request");
  return request;
}

Bytes encode(const CatalogReply& reply) {
  ByteWriter writer;
  write_optional(writer, reply, [&](const source::CatalogSnapshot& snapshot) {
    writer.write_uuid(snapshot.repository);
    writer.write_uuid(snapshot.epoch);
    writer.write_uuid(snapshot.session);
    writer.write(snapshot.change_number);
    writer.write(static_cast<std::uint32_t>(snapshot.images.size()));
    for (const std::string& image : snapshot.images) writer.write_text(image);
    writer.write(static_cast<std::uint32_t>(snapshot.versions.size()));
    for (const catalog::VersionFacts& facts : snapshot.versions) write_facts(writer, facts);
    writer.write(static_cast<std::uint32_t>(snapshot.tags.size()));
    for (const catalog::Tag& tag : snapshot.tags) {
      writer.write_text(tag.image);
      writer.write_text(tag.name);
      writer.write(tag.number.value());
    }
  });
  return writer.take();
}

Result<CatalogReply> decode_catalog_reply(ByteView payload) {
  ByteReader reader(payload);
  CatalogReply reply;
  if (const auto present = reader.read<std::uint8_t>(); present == 1) {
    ICBD_ASSIGN(reply, read_snapshot(reader));
  } else if (present != 0) {
    return malformed("catalog");
  }
  if (!reader.complete()) return malformed("catalog");
  return reply;
}

Bytes encode(const source::ShapeRequest& request) {
  ByteWriter writer;
  writer.write_digest(request.manifest);
  writer.write(static_cast<std::uint32_t>(request.offered.size()));
  for (const Uuid& uuid : request.offered) writer.write_uuid(uuid);
  return writer.take();
}

Result<source::ShapeRequest> decode_shape_request(ByteView payload) {
  ByteReader reader(payload);
  source::ShapeRequest request;
  request.manifest = reader.read_digest();
  const auto count = read_count(reader, sizeof(Uuid), limits::offered_parents);
  if (!count) return malformed("shape request");
  for (std::size_t i = 0; i < *count; ++i) request.offered.push_back(reader.read_uuid());
  if (!reader.complete()) return malformed("shape request");
  return request;
}

Bytes encode(const source::ShapeBegin& begin) {
  ByteWriter writer;
  write_optional(writer, begin.parent, [&](const Uuid& parent) { writer.write_uuid(parent); });
  return writer.take();
}

Result<source::ShapeBegin> decode_shape_begin(ByteView payload) {
  ByteReader reader(payload);
  source::ShapeBegin begin;
  if (!read_optional(reader, begin.parent, [&] { return reader.read_uuid(); }) ||
      !reader.complete())
    return malformed("beginning of a shape");
  return begin;
}

Bytes encode(const source::StreamRequest& request) {
  ByteWriter writer;
  writer.write_digest(request.manifest);
  write_optional(writer, request.parent, [&](const Uuid& parent) { writer.write_uuid(parent); });
  return writer.take();
}

Result<source::StreamRequest> decode_stream_request(ByteView payload) {
  ByteReader reader(payload);
  source::StreamRequest request;
  request.manifest = reader.read_digest();
  if (!read_optional(reader, request.parent, [&] { return reader.read_uuid(); }) ||
      !reader.complete())
    return malformed("stream request");
  return request;
}

Bytes encode(const PagesRequest& request) {
  ByteWriter writer;
  writer.write_digest(request.manifest);
  writer.write(static_cast<std::uint32_t>(request.digests.size()));
  for (const Digest& digest : request.digests) writer.write_digest(digest);
  return writer.take();
}

Result<PagesRequest> decode_pages_request(ByteView payload) {
  ByteReader reader(payload);
  PagesRequest request;
  request.manifest = reader.read_digest();
  const auto count = read_count(reader, sizeof(Digest), limits::pages_per_request);
  if (!count) return malformed("pages request");
  request.digests.reserve(*count);
  for (std::size_t i = 0; i < *count; ++i) request.digests.push_back(reader.read_digest());
  if (!reader.complete()) return malformed("pages request");
  return request;
}

Bytes encode_pages_reply(std::span<const Bytes> pages) {
  ByteWriter writer;
  for (const Bytes& page : pages) writer.write_sized(page);
  return writer.take();
}

Result<std::vector<Bytes>> decode_pages_reply(ByteView payload, std::size_t expected) {
  ByteReader reader(payload);
  std::vector<Bytes> pages;
  pages.reserve(expected);
  for (std::size_t i = 0; i < expected; ++i) {
    const ByteView page = reader.take_sized(limits::manifest_root);
    pages.emplace_back(page.begin(), page.end());
  }
  if (!reader.complete()) return malformed("list of pages");
  return pages;
}

Bytes encode(const ExtentsRequest& request) {
  ByteWriter writer;
  writer.write_digest(request.manifest);
  writer.write(static_cast<std::uint8_t>(request.priority));
  writer.write(static_cast<std::uint8_t>(request.encoded));
  writer.write(static_cast<std::uint32_t>(request.extents.size()));
  for (const source::Extent& extent : request.extents) write_extent(writer, extent);
  return writer.take();
}

Result<ExtentsRequest> decode_extents_request(ByteView payload) {
  ByteReader reader(payload);
  ExtentsRequest request;
  request.manifest = reader.read_digest();
  const auto priority = reader.read<std::uint8_t>();
  if (!is_between(priority, source::Priority::demand, source::Priority::bulk))
    return malformed("extents request");
  request.priority = static_cast<source::Priority>(priority);
  const auto encoded = reader.read<std::uint8_t>();
  if (encoded > 1) return malformed("extents request");
  request.encoded = encoded == 1;
  const auto count = read_count(reader, extent_size, limits::extents_per_request);
  if (!count) return malformed("extents request");
  request.extents.reserve(*count);
  for (std::size_t i = 0; i < *count; ++i) {
    request.extents.push_back(read_extent(reader));
    if (!check_extent(request.extents.back())) return malformed("extent");
  }
  if (!reader.complete()) return malformed("extents request");
  return request;
}

Status check_extent(const source::Extent& extent) {
  const auto [offset, length] = extent.range;
  if (length == 0 || length > limits::chunk_size || offset > limits::file_size ||
      offset % limits::chunk_size + length > limits::chunk_size)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} of file {} are not within one chunk", length, offset,
                            extent.file.value()));
  return {};
}

Bytes encode_extents_table(std::span<const source::ExtentData> extents) {
  ByteWriter writer;
  writer.write(static_cast<std::uint32_t>(extents.size()));
  for (const source::ExtentData& data : extents) {
    write_extent(writer, data.extent);
    writer.write(data.all_zero ? all_zero_flag : std::uint32_t{0});
  }
  return writer.take();
}

Result<std::vector<source::ExtentData>> decode_extents_reply(
    ByteView payload, const std::shared_ptr<const void>& owner) {
  ByteReader reader(payload);
  const auto count = read_count(reader, table_row_size, extents_per_frame);
  if (!count) return malformed("list of extents");
  std::vector<source::ExtentData> extents(*count);
  for (source::ExtentData& data : extents) {
    data.extent = read_extent(reader);
    const auto flags = reader.read<std::uint32_t>();
    if (!check_extent(data.extent)) return malformed("extent");
    if ((flags & ~all_zero_flag) != 0) return malformed("list of extents");
    data.all_zero = flags == all_zero_flag;
  }
  for (source::ExtentData& data : extents) {
    if (data.all_zero) continue;
    data.data = reader.take(data.extent.range.length);
    data.owner = owner;
  }
  if (!reader.complete()) return malformed("list of extents");
  return extents;
}

ByteView sent_part(const source::EncodedExtent& extent) {
  ByteView part = extent.data;
  while (!part.empty() && part.back() == std::byte{0}) part = part.first(part.size() - 1);
  return part;
}

Bytes encode_encoded_table(std::span<const source::EncodedExtent> extents) {
  ByteWriter writer;
  writer.write(static_cast<std::uint32_t>(extents.size()));
  for (const source::EncodedExtent& extent : extents) {
    write_extent(writer, {extent.file, extent.range});
    writer.write(extent.unencoded_offset);
    writer.write(extent.unencoded_length);
    writer.write(extent.compression);
    writer.write(static_cast<std::uint32_t>(extent.data.size()));
    writer.write(static_cast<std::uint32_t>(sent_part(extent).size()));
  }
  return writer.take();
}

Result<std::vector<source::EncodedExtent>> decode_encoded_reply(
    ByteView payload, const std::shared_ptr<const void>& owner) {
  ByteReader reader(payload);
  const auto count = read_count(reader, encoded_row_size, extents_per_frame);
  if (!count) return malformed("list of compressed extents");
  std::vector<source::EncodedExtent> extents(*count);
  std::vector<EncodedLengths> lengths(*count);
  std::size_t packed = 0;  // a frame of few bytes must not ask for much memory
  for (std::size_t i = 0; i < *count; ++i) {
    const source::Extent held = read_extent(reader);
    extents[i] = {.file = held.file,
                  .range = held.range,
                  .unencoded_offset = reader.read<std::uint32_t>(),
                  .unencoded_length = reader.read<std::uint32_t>(),
                  .compression = reader.read<std::uint32_t>()};
    lengths[i] = {.packed = reader.read<std::uint32_t>(), .sent = reader.read<std::uint32_t>()};
    packed += lengths[i].packed;
    if (reader.failed() || !is_possible(extents[i], lengths[i]) || packed > limits::frame_payload)
      return malformed("compressed extent");
  }
  for (std::size_t i = 0; i < *count; ++i) {
    const ByteView sent = reader.take(lengths[i].sent);
    if (reader.failed()) break;
    extents[i].owner = owner;
    extents[i].data = sent;
    if (sent.size() == lengths[i].packed) continue;
    auto whole = std::make_shared<Bytes>(sent.begin(), sent.end());
    whole->resize(lengths[i].packed);
    extents[i].data = *whole;
    extents[i].owner = std::move(whole);
  }
  if (!reader.complete()) return malformed("list of compressed extents");
  return extents;
}

Bytes encode_extents_end(std::string_view packing) {
  ByteWriter writer;
  writer.write_text(packing.substr(0, packing_words_length));
  return writer.take();
}

Result<std::string> decode_extents_end(ByteView payload) {
  ByteReader reader(payload);
  std::string packing = reader.read_text(packing_words_length);
  if (!reader.complete()) return malformed("end of extents");
  return packing;
}

Bytes encode(const Error& error) {
  ByteWriter writer;
  writer.write_text(to_string(error.code()));
  writer.write_text(std::string_view(error.message()).substr(0, error_message_bytes));
  return writer.take();
}

Error decode_error(ByteView payload) {
  ByteReader reader(payload);
  const std::string name = reader.read_text(limits::name_length);
  const std::string message = reader.read_text(error_message_bytes);
  if (!reader.complete()) return malformed("error").error();
  // A later release may know more kinds of errors: the message still says what happened.
  return Error(parse_error_code(name).value_or(ErrorCode::io), message);
}

}  // namespace icbd::wire
