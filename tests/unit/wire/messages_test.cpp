#include "messages.h"

#include <gtest/gtest.h>

#include "icbd/base/limits.h"
#include "icbd/wire/frame.h"

#include "fake_source.h"

namespace icbd::wire {
namespace {

using testing::FakeSource;

// Every shorter beginning of the payload, and one byte more, must be refused.
template <typename Decode>
void expect_strict(const Bytes& payload, Decode decode) {
  ASSERT_TRUE(decode(payload));
  for (std::size_t length = 0; length < payload.size(); ++length)
    EXPECT_FALSE(decode(ByteView(payload).first(length))) << "cut to " << length;
  Bytes longer = payload;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode(longer)) << "with a byte too many";
}

TEST(Messages, Hello) {
  const Hello hello{.protocol = protocol_version,
                    .role = NodeRole::cache,
                    .channel = ChannelKind::bulk,
                    .node_name = "cache-7",
                    .packing = codec::Setting{codec::Algorithm::zstd, 3},
                    .unpacks = {codec::Algorithm::lz4, codec::Algorithm::zstd}};
  const Bytes payload = encode(hello);
  expect_strict(payload, decode_hello);
  const auto decoded = decode_hello(payload);
  EXPECT_EQ(decoded->protocol, protocol_version);
  EXPECT_EQ(decoded->channel, ChannelKind::bulk);
  EXPECT_EQ(decoded->node_name, "cache-7");
  EXPECT_EQ(decoded->packing, hello.packing);
  EXPECT_EQ(decoded->unpacks, hello.unpacks);
}

// A later release may know more: what this one cannot use is passed over.
TEST(Messages, HelloWithAnUnknownPackingIsReadWithoutIt) {
  ByteWriter writer;
  writer.write(protocol_version);
  writer.write(static_cast<std::uint8_t>(NodeRole::cache));
  writer.write(static_cast<std::uint8_t>(ChannelKind::bulk));
  writer.write_text("later");
  writer.write_text("brotli:5");
  writer.write(std::uint32_t{2});
  writer.write(std::uint8_t{250});
  writer.write(static_cast<std::uint8_t>(codec::Algorithm::lz4));
  const auto decoded = decode_hello(writer.view());
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(decoded->packing, std::nullopt);
  EXPECT_EQ(decoded->unpacks, std::vector{codec::Algorithm::lz4});
}

TEST(Messages, HelloOfAnotherVersionIsReadNoFurtherThanItsVersion) {
  ByteWriter writer;
  writer.write(std::uint16_t{99});
  writer.write_text("whatever version 99 has here");
  const auto decoded = decode_hello(writer.view());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->protocol, 99);
}

TEST(Messages, CatalogRequest) {
  const source::KnownCatalog known{.session = Uuid::random(), .change_number = 77};
  expect_strict(encode(CatalogRequest{.known = known}), decode_catalog_request);
  EXPECT_EQ(decode_catalog_request(encode(CatalogRequest{.known = known}))->known, known);
  EXPECT_EQ(decode_catalog_request(encode(CatalogRequest{}))->known, std::nullopt);
  EXPECT_FALSE(decode_catalog_request(Bytes{std::byte{2}}));
}

TEST(Messages, CatalogReply) {
  const FakeSource source;
  const Bytes payload = encode(CatalogReply(source.snapshot));
  expect_strict(payload, decode_catalog_reply);
  const auto decoded = decode_catalog_reply(payload);
  ASSERT_TRUE(*decoded);
  EXPECT_EQ((*decoded)->repository, source.snapshot.repository);
  EXPECT_EQ((*decoded)->epoch, source.snapshot.epoch);
  EXPECT_EQ((*decoded)->known(), source.snapshot.known());
  EXPECT_EQ((*decoded)->images, source.snapshot.images);
  EXPECT_EQ((*decoded)->versions, source.snapshot.versions);
  EXPECT_EQ((*decoded)->tags, source.snapshot.tags);
  EXPECT_EQ(*decode_catalog_reply(encode(CatalogReply())), std::nullopt);
}

TEST(Messages, CatalogWithAnEvilNameIsRefused) {
  for (const std::string_view name : {"../up", ".hidden", "", "a/b", "latest"}) {
    FakeSource source;
    source.snapshot.versions.front().image = name;
    EXPECT_FALSE(decode_catalog_reply(encode(CatalogReply(source.snapshot)))) << name;
    source.snapshot.versions.clear();
    source.snapshot.images = {std::string(name)};
    EXPECT_FALSE(decode_catalog_reply(encode(CatalogReply(source.snapshot)))) << name;
  }
}

TEST(Messages, CatalogWithAPathThatLeavesItsVersionIsRefused) {
  for (const std::string_view path : {"../up", "/etc", "boot/", "a//b"}) {
    FakeSource source;
    source.snapshot.versions.front().boot_directory = path;
    EXPECT_FALSE(decode_catalog_reply(encode(CatalogReply(source.snapshot)))) << path;
    source.snapshot.versions.front().boot_directory.clear();
    source.snapshot.versions.front().target_file = path;
    EXPECT_FALSE(decode_catalog_reply(encode(CatalogReply(source.snapshot)))) << path;
  }
}

TEST(Messages, CatalogWithATagThatIsANumberIsRefused) {
  FakeSource source;
  source.snapshot.tags.front().name = "7";
  EXPECT_FALSE(decode_catalog_reply(encode(CatalogReply(source.snapshot))));
}

TEST(Messages, CountThatThePayloadCannotHoldIsRefusedBeforeMemoryIsTaken) {
  ByteWriter writer;
  writer.write_uuid(Uuid::random());
  writer.write(std::uint64_t{1});
  writer.write(std::uint32_t{900'000});  // images
  EXPECT_FALSE(decode_catalog_reply(writer.view()));
}

TEST(Messages, ShapeRequestAndBegin) {
  const source::ShapeRequest request{.manifest = sha256(as_bytes("m")),
                                     .offered = {Uuid::random(), Uuid::random()}};
  const Bytes payload = encode(request);
  expect_strict(payload, decode_shape_request);
  EXPECT_EQ(decode_shape_request(payload)->manifest, request.manifest);
  EXPECT_EQ(decode_shape_request(payload)->offered, request.offered);

  const source::ShapeBegin begin{.parent = request.offered.back()};
  expect_strict(encode(begin), decode_shape_begin);
  EXPECT_EQ(decode_shape_begin(encode(begin))->parent, begin.parent);
  EXPECT_EQ(decode_shape_begin(encode(source::ShapeBegin{}))->parent, std::nullopt);
}

TEST(Messages, TooManyOfferedParentsAreRefused) {
  source::ShapeRequest request;
  request.offered.resize(limits::offered_parents + 1);
  EXPECT_FALSE(decode_shape_request(encode(request)));
}

TEST(Messages, Pages) {
  for (const std::optional<Uuid>& parent :
       {std::optional<Uuid>(), std::optional<Uuid>(Uuid::random())}) {
    const source::StreamRequest stream{.manifest = sha256(as_bytes("m")), .parent = parent};
    expect_strict(encode(stream), decode_stream_request);
    EXPECT_EQ(decode_stream_request(encode(stream))->parent, parent);
  }
  const PagesRequest request{.manifest = sha256(as_bytes("m")),
                             .digests = {sha256(as_bytes("1")), sha256(as_bytes("2"))}};
  expect_strict(encode(request), decode_pages_request);
  EXPECT_EQ(decode_pages_request(encode(request))->digests, request.digests);

  const std::vector<Bytes> pages = {Bytes(5, std::byte{1}), Bytes()};
  const Bytes payload = encode_pages_reply(pages);
  expect_strict(payload, [](ByteView view) { return decode_pages_reply(view, 2); });
  EXPECT_EQ(*decode_pages_reply(payload, 2), pages);
  EXPECT_FALSE(decode_pages_reply(payload, 1)) << "more pages than were asked for";
}

TEST(Messages, ExtentsRequest) {
  const ExtentsRequest request{.manifest = sha256(as_bytes("m")),
                               .priority = source::Priority::bulk,
                               .extents = FakeSource::chunks(3)};
  const Bytes payload = encode(request);
  expect_strict(payload, decode_extents_request);
  EXPECT_EQ(decode_extents_request(payload)->priority, source::Priority::bulk);
  EXPECT_FALSE(decode_extents_request(payload)->encoded);
  EXPECT_EQ(decode_extents_request(payload)->extents, request.extents);
}

TEST(Messages, ExtentsThatAreNotWithinOneChunkAreRefused) {
  constexpr std::uint64_t chunk = limits::chunk_size;
  for (const ByteRange range :
       {ByteRange{0, 0}, ByteRange{0, chunk + 1}, ByteRange{chunk - 1, 2},
        ByteRange{limits::file_size + chunk, 1}, ByteRange{0xFFFFFFFFFFFFFFFF, 1}}) {
    const ExtentsRequest request{.manifest = {},
                                 .extents = {{.file = FileIndex(1), .range = range}}};
    EXPECT_FALSE(decode_extents_request(encode(request))) << range.offset << " " << range.length;
  }
}

TEST(Messages, ExtentsReplyCarriesDataInOrderAndZerosAsAFlag) {
  const Bytes content(10, std::byte{7});
  const std::vector<source::ExtentData> sent = {
      {.extent = {FileIndex(1), {0, 10}}, .owner = {}, .data = content, .all_zero = false},
      {.extent = {FileIndex(2), {128, 4096}}, .owner = {}, .data = {}, .all_zero = true}};
  Bytes payload = encode_extents_table(sent);
  payload.insert(payload.end(), content.begin(), content.end());
  expect_strict(payload, [](ByteView view) { return decode_extents_reply(view, nullptr); });
  const auto decoded = decode_extents_reply(payload, nullptr);
  ASSERT_EQ(decoded->size(), 2u);
  EXPECT_EQ((*decoded)[0].extent, sent[0].extent);
  EXPECT_TRUE(std::ranges::equal((*decoded)[0].data, content));
  EXPECT_EQ((*decoded)[1].extent, sent[1].extent);
  EXPECT_TRUE((*decoded)[1].all_zero);
  EXPECT_TRUE((*decoded)[1].data.empty());
}

source::EncodedExtent encoded_extent(ByteView data) {
  return {.file = FileIndex(3),
          .range = {limits::chunk_size - 4096, 8192},  // over a border of chunks
          .unencoded_offset = 4096,
          .unencoded_length = 16384,
          .compression = 2,
          .owner = nullptr,
          .data = data};
}

Bytes encoded_reply(const source::EncodedExtent& extent) {
  Bytes payload = encode_encoded_table(std::span(&extent, 1));
  const ByteView sent = sent_part(extent);
  payload.insert(payload.end(), sent.begin(), sent.end());
  return payload;
}

TEST(Messages, CompressedExtentsAreWhatTheyWereAndTheirLastZerosAreNotSent) {
  Bytes data(4096);
  data[0] = data[100] = std::byte{1};
  const source::EncodedExtent sent = encoded_extent(data);
  const Bytes payload = encoded_reply(sent);
  EXPECT_LT(payload.size(), 200u);
  expect_strict(payload, [](ByteView view) { return decode_encoded_reply(view, nullptr); });
  const auto decoded = decode_encoded_reply(payload, nullptr);
  ASSERT_TRUE(decoded) << decoded.error().message();
  ASSERT_EQ(decoded->size(), 1u);
  const source::EncodedExtent& came = decoded->front();
  EXPECT_EQ(came.file, sent.file);
  EXPECT_EQ(came.range, sent.range);
  EXPECT_EQ(came.unencoded_offset, sent.unencoded_offset);
  EXPECT_EQ(came.unencoded_length, sent.unencoded_length);
  EXPECT_EQ(came.compression, sent.compression);
  EXPECT_TRUE(std::ranges::equal(came.data, data));
}

TEST(Messages, CompressedExtentsWithImpossibleLengthsAreRefused) {
  const Bytes data(4096, std::byte{1});
  const auto refused = [&](auto change) {
    source::EncodedExtent extent = encoded_extent(data);
    change(extent);
    return !decode_encoded_reply(encoded_reply(extent), nullptr);
  };
  using Extent = source::EncodedExtent;
  EXPECT_FALSE(refused([](Extent&) {}));
  EXPECT_TRUE(refused([](Extent& extent) { extent.range.length = 0; }));
  EXPECT_TRUE(refused([](Extent& extent) { extent.range.length = 12289; })) << "more than it holds";
  EXPECT_TRUE(refused([](Extent& extent) { extent.range.offset = limits::file_size; }));
  EXPECT_TRUE(refused([](Extent& extent) { extent.unencoded_offset = 16384; }));
  EXPECT_TRUE(refused([](Extent& extent) { extent.unencoded_offset = 0xFFFFFFFF; }));
  EXPECT_TRUE(refused([](Extent& extent) { extent.unencoded_length = limits::extent_length + 1; }));
  const Bytes long_data(limits::extent_length + 1, std::byte{1});
  EXPECT_TRUE(refused([&](Extent& extent) { extent.data = long_data; }));
  EXPECT_TRUE(refused([](Extent& extent) { extent.data = {}; }));
}

TEST(Messages, AFewBytesDoNotAskForMuchMemory) {
  // Of zeros nothing is sent.
  const Bytes zeros(limits::extent_length);
  const auto is_accepted = [&](std::size_t count) {
    const std::vector<source::EncodedExtent> extents(count, encoded_extent(zeros));
    return decode_encoded_reply(encode_encoded_table(extents), nullptr).has_value();
  };
  constexpr std::size_t most = limits::frame_payload / limits::extent_length;
  EXPECT_TRUE(is_accepted(most));
  EXPECT_FALSE(is_accepted(most + 1));
}

TEST(Messages, ErrorsKeepCodeAndMessage) {
  const Error error(ErrorCode::not_found, "no such version");
  const Error decoded = decode_error(encode(error));
  EXPECT_EQ(decoded.code(), ErrorCode::not_found);
  EXPECT_EQ(decoded.message(), "no such version");
}

TEST(Messages, AnErrorOfAKindThatIsNotKnownKeepsItsMessage) {
  ByteWriter writer;
  writer.write_text("out_of_tape");
  writer.write_text("change the reel");
  EXPECT_EQ(decode_error(writer.view()).message(), "change the reel");
}

}  // namespace
}  // namespace icbd::wire
