// Whole streams in containers, against themselves and against everybody's tools.
#include "icbd/codec/stream.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstring>
#include <fstream>
#include <random>

#include "harness/run.h"
#include "harness/temporary_directory.h"

namespace icbd::codec {
namespace {

constexpr std::size_t mebibyte = 1024 * 1024;

// Words, noise and zeros, as a disk has them.
Bytes sample(std::size_t size) {
  std::mt19937_64 random(7);
  Bytes bytes;
  while (bytes.size() < size) {
    const auto kind = random() % 3;
    for (std::size_t i = 0; i < 5000; ++i) {
      if (kind == 0) bytes.push_back(std::byte{0});
      if (kind == 1) bytes.push_back(static_cast<std::byte>(random()));
      if (kind == 2) bytes.push_back(static_cast<std::byte>("the disks of desktops "[i % 22]));
    }
  }
  bytes.resize(size);
  return bytes;
}

PieceSink append_to(Bytes& all) {
  return [&all](ByteView piece) -> Status {
    all.insert(all.end(), piece.begin(), piece.end());
    return {};
  };
}

template <typename Take>
void in_pieces(ByteView bytes, std::size_t size, const Take& take) {
  while (!bytes.empty()) {
    const ByteView piece = bytes.first(std::min(size, bytes.size()));
    bytes = bytes.subspan(piece.size());
    take(piece);
  }
}

Bytes packed(Setting setting, ByteView plain, std::size_t piece = 100'000) {
  Bytes all;
  const auto packer = make_stream_packer(setting);
  EXPECT_TRUE(packer) << packer.error().message();
  in_pieces(plain, piece,
            [&](ByteView part) { EXPECT_TRUE((*packer)->pack(part, append_to(all))); });
  EXPECT_TRUE((*packer)->finish(append_to(all)));
  return all;
}

Result<Bytes> unpacked(Algorithm algorithm, ByteView bytes, std::size_t piece = 100'000) {
  Bytes all;
  ICBD_ASSIGN(const auto unpacker, make_stream_unpacker(algorithm));
  Status status;
  in_pieces(bytes, piece, [&](ByteView part) {
    if (status) status = unpacker->unpack(part, append_to(all));
  });
  ICBD_TRY(status);
  ICBD_TRY(unpacker->finish());
  return all;
}

class StreamCodec : public ::testing::TestWithParam<const char*> {
 protected:
  Setting setting() const { return parse_setting(GetParam()).value(); }
  Algorithm algorithm() const { return setting().algorithm; }
};

TEST_P(StreamCodec, PiecesOfAnySizeComeBack) {
  const Bytes plain = sample(300'000);
  for (const std::size_t piece : {1uz, 7uz, 65'536uz, 300'000uz}) {
    const auto back = unpacked(algorithm(), packed(setting(), plain, piece), piece);
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(*back, plain) << piece;
  }
}

TEST_P(StreamCodec, NothingIsAContainerToo) {
  const Bytes empty = packed(setting(), {});
  EXPECT_FALSE(empty.empty());
  EXPECT_EQ(unpacked(algorithm(), empty).value(), Bytes());
  EXPECT_FALSE(unpacked(algorithm(), {}));
}

TEST_P(StreamCodec, ItsBeginningTellsWhatItIs) {
  const Bytes bytes = packed(setting(), sample(100));
  EXPECT_EQ(detect_container(ByteView(bytes).first(container_magic_length)), algorithm());
  EXPECT_EQ(detect_container(ByteView(bytes).first(1)), Algorithm::none);
}

TEST_P(StreamCodec, ContainersMayFollowEachOther) {
  const Bytes plain = sample(200'000);
  Bytes both = packed(setting(), ByteView(plain).first(70'000));
  const Bytes second = packed(setting(), ByteView(plain).subspan(70'000));
  both.insert(both.end(), second.begin(), second.end());
  for (const std::size_t piece : {1uz, 1000uz, both.size()})
    EXPECT_EQ(unpacked(algorithm(), both, piece).value(), plain) << piece;
}

TEST_P(StreamCodec, WhatIsCutShortIsNoticed) {
  const Bytes bytes = packed(setting(), sample(150'000));
  for (std::size_t length = 0; length < bytes.size(); length += 1 + length / 20) {
    const auto back = unpacked(algorithm(), ByteView(bytes).first(length));
    // Snappy's format has no end: between two chunks it may stop, and the stream within it tells.
    if (back && algorithm() == Algorithm::snappy) continue;
    ASSERT_FALSE(back) << length;
    EXPECT_EQ(back.error().code(), ErrorCode::corrupt);
  }
}

TEST_P(StreamCodec, WhatIsDamagedIsNoticedOrHarmless) {
  const Bytes plain = sample(150'000);
  Bytes bytes = packed(setting(), plain);
  for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 400) {
    const std::byte flipped{static_cast<unsigned char>(1u << (at % 8))};
    bytes[at] ^= flipped;
    const auto back = unpacked(algorithm(), bytes);
    EXPECT_TRUE(!back || *back == plain) << at;
    bytes[at] ^= flipped;
  }
}

TEST_P(StreamCodec, AnErrorOfTheSinkEndsTheCall) {
  const PieceSink full = [](ByteView) { return fail(ErrorCode::no_space, "full"); };
  const auto packer = make_stream_packer(setting()).value();
  const Bytes plain = sample(4 * mebibyte);
  Status status = packer->pack(plain, full);
  if (status) status = packer->finish(full);
  EXPECT_EQ(status.error().code(), ErrorCode::no_space);
  const auto unpacker = make_stream_unpacker(algorithm()).value();
  EXPECT_EQ(unpacker->unpack(packed(setting(), plain), full).error().code(), ErrorCode::no_space);
}

INSTANTIATE_TEST_SUITE_P(Settings, StreamCodec,
                         ::testing::Values("lz4", "lz4:9", "snappy", "zlib", "zlib:1", "zstd",
                                           "zstd:-1", "zstd:9"),
                         [](const auto& tested) {
                           std::string name;
                           for (const char c : std::string_view(tested.param))
                             name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

TEST(StreamCodecNone, HandsOverWhatItGets) {
  const Bytes plain = sample(1000);
  EXPECT_EQ(packed({}, plain), plain);
  EXPECT_EQ(unpacked(Algorithm::none, plain).value(), plain);
  EXPECT_EQ(detect_container(as_bytes(std::string_view("btrfs-stream\0", 13))), Algorithm::none);
  EXPECT_FALSE(make_stream_packer({.algorithm = Algorithm::zlib, .level = 99}));
}

// Everybody's tools.
struct Tool {
  const char* setting;
  const char* pack;
  const char* unpack;
};

class StreamCodecTools : public ::testing::TestWithParam<Tool> {};

TEST_P(StreamCodecTools, UnderstandEachOther) {
  const auto folder = harness::TemporaryDirectory::create();
  const auto file = [&](const char* name) { return (folder->path() / name).string(); };
  const Bytes plain = sample(3 * mebibyte);
  const auto save = [&](const char* name, const Bytes& bytes) {
    std::ofstream(file(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  };
  const Setting setting = parse_setting(GetParam().setting).value();
  save("plain", plain);
  save("ours", packed(setting, plain));
  const auto done = harness::shell_checked(
      fmt::format("cd '{}'; {} <ours >back; cmp plain back; {} <plain >theirs",
                  folder->path().string(), GetParam().unpack, GetParam().pack));
  ASSERT_TRUE(done) << done.error().message();
  std::ifstream theirs(file("theirs"), std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(theirs), {}};
  EXPECT_EQ(detect_container(as_bytes(text)), setting.algorithm);
  EXPECT_EQ(unpacked(setting.algorithm, as_bytes(text)).value(), plain);
}

INSTANTIATE_TEST_SUITE_P(Programs, StreamCodecTools,
                         ::testing::Values(Tool{"zstd:3", "zstd -q -c", "zstd -q -d -c"},
                                           Tool{"lz4", "lz4 -q -c", "lz4 -q -d -c"},
                                           Tool{"zlib:6", "gzip -c", "gunzip -c"}),
                         [](const auto& tested) {
                           return std::string(tested.param.setting).substr(0, 3);
                         });

// There is no common program for it: a stream written down by its format. The checksum of
// "123456789" is the known one of CRC-32C, 0xe3069283, rotated by 15 and shifted by 0xa282ead8.
TEST(StreamCodecSnappy, ReadsAndWritesTheFramingFormat) {
  constexpr std::uint32_t crc = 0xe3069283;
  const std::uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8;
  std::string stream("\xff\x06\x00\x00sNaPpY\x01\x0d\x00\x00", 14);
  stream.append(reinterpret_cast<const char*>(&masked), sizeof masked);
  stream += "123456789";
  const auto digits = as_bytes("123456789");
  EXPECT_EQ(as_text(unpacked(Algorithm::snappy, as_bytes(stream)).value()), "123456789");
  EXPECT_EQ(as_text(packed({.algorithm = Algorithm::snappy}, digits)), stream);

  // Padding is skipped, what has to be understood and is not is an error.
  const std::string padding("\xfe\x03\x00\x00xyz", 7);
  EXPECT_EQ(as_text(unpacked(Algorithm::snappy, as_bytes(stream + padding)).value()), "123456789");
  const std::string unknown("\x02\x01\x00\x00x", 5);
  EXPECT_FALSE(unpacked(Algorithm::snappy, as_bytes(stream + unknown)));
}

}  // namespace
}  // namespace icbd::codec
