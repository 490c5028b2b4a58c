// What the frames of the data service carry: structs to payloads and back.
//
// Pure: bytes in, values out; no I/O. Every decode is strict: each count and length is held against
// a named limit before memory is allocated, enumerations and names are checked, and bytes left over
// are an error. A payload that does not decode is `corrupt`.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"
#include "icbd/codec/codec.h"
#include "icbd/source/source.h"

namespace icbd::wire {

// A catalog as it travels: 64 MiB are about 300,000 versions.
inline constexpr std::size_t catalog_bytes = 64 * 1024 * 1024;
inline constexpr std::size_t catalog_images = 1'000'000;
// All pages of one reply, and with them a whole root of the largest size.
inline constexpr std::size_t pages_reply_bytes = 256 * 1024 * 1024;
// An error message; it quotes paths and names, so a few of the longest must fit.
inline constexpr std::size_t error_message_bytes = 16 * 1024;
// What frames with data are filled to: large enough that the cost per frame does not show, small
// enough that a reader of the first extent does not wait for many others.
inline constexpr std::size_t data_frame_bytes = 1024 * 1024;
// Extents of one reply frame: each is one piece for sendmsg(2), which takes 1024 (IOV_MAX).
inline constexpr std::size_t extents_per_frame = 1000;

enum class NodeRole : std::uint8_t { master = 1, cache = 2 };
enum class ChannelKind : std::uint8_t { control = 1, demand = 2, bulk = 3 };
std::string_view to_string(ChannelKind kind);
// More than there are; those of later releases are passed over.
inline constexpr std::size_t hello_algorithms = 64;
inline constexpr std::size_t hello_setting_length = 32;

// Both hello and its reply. `protocol` comes first for ever: where it differs, the rest is not
// looked at.
struct Hello {
  std::uint16_t protocol = 0;
  NodeRole role = NodeRole::cache;
  ChannelKind channel = ChannelKind::control;
  std::string node_name;
  // How answers are to be packed; none: as suits the link and the data.
  std::optional<codec::Setting> packing = {};
  // What this side can unpack, beside what is plain.
  std::vector<codec::Algorithm> unpacks = {};
};
Bytes encode(const Hello& hello);
Result<Hello> decode_hello(ByteView payload);

struct CatalogRequest {
  std::optional<source::KnownCatalog> known;
};
Bytes encode(const CatalogRequest& request);
Result<CatalogRequest> decode_catalog_request(ByteView payload);

// Nothing: unchanged.
using CatalogReply = std::optional<source::CatalogSnapshot>;
Bytes encode(const CatalogReply& reply);
Result<CatalogReply> decode_catalog_reply(ByteView payload);

Bytes encode(const source::ShapeRequest& request);
Result<source::ShapeRequest> decode_shape_request(ByteView payload);
Bytes encode(const source::ShapeBegin& begin);
Result<source::ShapeBegin> decode_shape_begin(ByteView payload);

struct PagesRequest {
  Digest manifest;
  std::vector<Digest> digests;
};
Bytes encode(const PagesRequest& request);
Result<PagesRequest> decode_pages_request(ByteView payload);
Bytes encode_pages_reply(std::span<const Bytes> pages);
Result<std::vector<Bytes>> decode_pages_reply(ByteView payload, std::size_t expected);

Bytes encode(const source::StreamRequest& request);
Result<source::StreamRequest> decode_stream_request(ByteView payload);

struct ExtentsRequest {
  Digest manifest;
  source::Priority priority = source::Priority::demand;
  bool encoded = false;  // compressed extents may come as they are on the master's disk
  std::vector<source::Extent> extents;
};
Bytes encode(const ExtentsRequest& request);
Result<ExtentsRequest> decode_extents_request(ByteView payload);
// Not empty, at most one chunk long, within one chunk, below limits::file_size.
Status check_extent(const source::Extent& extent);

// A reply frame with several extents: a table, then their bytes in the same order. The table is
// encoded alone, so that the bytes go from where they lie to the socket.
Bytes encode_extents_table(std::span<const source::ExtentData> extents);
// The extents' data lies in `payload` and is kept alive by `owner`.
Result<std::vector<source::ExtentData>> decode_extents_reply(
    ByteView payload, const std::shared_ptr<const void>& owner);

// A reply frame with compressed extents: as above. The zeros that fill the last sector of each are
// left out.
Bytes encode_encoded_table(std::span<const source::EncodedExtent> extents);
// What of an extent's data is sent.
ByteView sent_part(const source::EncodedExtent& extent);
// Each has its range within limits::file_size and its lengths within limits::extent_length; all
// together are within limits::frame_payload also with their zeros.
Result<std::vector<source::EncodedExtent>> decode_encoded_reply(
    ByteView payload, const std::shared_ptr<const void>& owner);

// The end of an answer with extents: how they were packed, in words for people, of the answering
// side.
inline constexpr std::size_t packing_words_length = 200;
Bytes encode_extents_end(std::string_view packing);
Result<std::string> decode_extents_end(ByteView payload);

Bytes encode(const Error& error);
// The error that the payload carries, or the one that decoding it ends in.
Error decode_error(ByteView payload);

}  // namespace icbd::wire
