// What every algorithm has to keep, at each of the levels that are likely to be used.
#include "icbd/codec/codec.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <thread>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

namespace icbd::codec {
namespace {

std::uint64_t test_seed() {
  const char* given = std::getenv("ICBD_TEST_SEED");
  return given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

Bytes random_bytes(std::size_t length, std::mt19937_64& random) {
  Bytes bytes(length);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

Bytes text(std::size_t length) {
  std::string words;
  for (int i = 0; words.size() < length; ++i)
    words += "line " + std::to_string(i * 7919 % 10007) + " of a configuration file\n";
  words.resize(length);
  const ByteView view = as_bytes(words);
  return {view.begin(), view.end()};
}

// Blocks that a version is made of: by name, so that a failure says which.
std::map<std::string, Bytes> blocks() {
  std::mt19937_64 random(7);
  std::map<std::string, Bytes> blocks{
      {"empty", {}},
      {"one byte", Bytes(1, std::byte{'x'})},
      {"three bytes", Bytes(3)},
      {"text", text(limits::chunk_size)},
      {"a short text", text(300)},
      {"zeros", Bytes(limits::chunk_size)},
      {"the largest block", text(limits::frame_payload)},
      {"random", random_bytes(limits::chunk_size, random)},
  };
  Bytes half = random_bytes(limits::chunk_size, random);
  std::fill(half.begin(), half.begin() + limits::chunk_size / 2, std::byte{0});
  blocks.emplace("half random", std::move(half));
  // Would get smaller, but by a thirty-second.
  Bytes most = random_bytes(limits::chunk_size, random);
  std::fill(most.begin(), most.begin() + limits::chunk_size / 32, std::byte{0});
  blocks.emplace("most of it random", std::move(most));
  return blocks;
}

// This very program: machine code, strings and tables, in chunks.
std::vector<Bytes> executable() {
  auto program = read_file("/proc/self/exe", std::size_t{256} << 20);
  if (!program) throw std::runtime_error(program.error().message());
  std::vector<Bytes> chunks;
  for (std::size_t at = 0; at < program->size() && chunks.size() < 10; at += limits::chunk_size) {
    const auto first = program->begin() + static_cast<std::ptrdiff_t>(at);
    chunks.emplace_back(first, first + static_cast<std::ptrdiff_t>(
                                           std::min(limits::chunk_size, program->size() - at)));
  }
  return chunks;
}

class Codec : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto parsed = parse_setting(GetParam());
    ASSERT_TRUE(parsed) << parsed.error().message();
    setting = *parsed;
    compressor = make_compressor(setting).value();
    decompressor = make_decompressor(setting.algorithm).value();
  }

  bool packs_anything() const { return setting.algorithm != Algorithm::none; }

  // The block packed, or plain if packing is not worth it: what would be sent.
  Bytes pack(ByteView plain) {
    Bytes packed;
    const auto smaller = compressor->compress(plain, packed);
    EXPECT_TRUE(smaller) << smaller.error().message();
    return packed;
  }

  // Unpacks into a place between two guards, and sees that they are as they were.
  Result<Bytes> unpack(ByteView packed, std::size_t length) {
    constexpr std::size_t guard = 64;
    constexpr std::byte mark{0xa5};
    Bytes room(length + 2 * guard, mark);
    const Status status = decompressor->decompress(packed, std::span(room).subspan(guard, length));
    const auto is_mark = [](std::byte byte) { return byte == mark; };
    EXPECT_TRUE(std::all_of(room.begin(), room.begin() + guard, is_mark));
    EXPECT_TRUE(std::all_of(room.end() - guard, room.end(), is_mark));
    if (!status) return std::unexpected(status.error());
    return Bytes(room.begin() + guard, room.end() - guard);
  }

  Setting setting;
  std::unique_ptr<Compressor> compressor;
  std::unique_ptr<Decompressor> decompressor;
};

TEST_P(Codec, GivesBackWhatItPacked) {
  auto all = blocks();
  for (std::size_t number = 0; Bytes & chunk : executable())
    all.emplace("executable " + std::to_string(number++), std::move(chunk));
  for (const auto& [name, plain] : all) {
    const Bytes packed = pack(plain);
    if (packed.empty()) continue;
    const auto unpacked = unpack(packed, plain.size());
    ASSERT_TRUE(unpacked) << name << ": " << unpacked.error().message();
    EXPECT_EQ(*unpacked, plain) << name;
  }
}

TEST_P(Codec, PacksWhatGetsSmallerByASixteenthAndNothingElse) {
  for (const auto& [name, plain] : blocks()) {
    const Bytes packed = pack(plain);
    const bool random = name == "random" || name == "most of it random";
    EXPECT_EQ(!packed.empty(), packs_anything() && !random && plain.size() > 3) << name;
    EXPECT_LE(packed.size() * 16, plain.size() * 15) << name;
  }
}

TEST_P(Codec, ABlockDoesNotDependOnTheOnesBefore) {
  const Bytes first = text(20'000), other = text(limits::chunk_size);
  std::mt19937_64 random(1);
  const Bytes packed = pack(first);
  pack(other);
  pack(random_bytes(5'000, random));
  EXPECT_EQ(pack(first), packed);
}

TEST_P(Codec, WhatIsCutShortOrTooLongIsCorrupt) {
  const Bytes plain = text(20'000);
  const Bytes packed = pack(plain);
  for (std::size_t length = 0; length < packed.size(); ++length) {
    const auto unpacked = unpack(ByteView(packed).first(length), plain.size());
    ASSERT_FALSE(unpacked) << length << " of " << packed.size() << " bytes";
    ASSERT_EQ(unpacked.error().code(), ErrorCode::corrupt);
  }
  for (const std::byte more : {std::byte{0}, std::byte{0xff}}) {
    Bytes longer = packed;
    longer.push_back(more);
    EXPECT_FALSE(unpack(longer, plain.size()));
  }
  if (!packed.empty()) {
    EXPECT_TRUE(unpack(packed, plain.size())) << "and it still works";
  }
}

TEST_P(Codec, TwoBlocksOneAfterTheOtherAreNoBlock) {
  const Bytes plain = text(20'000);
  Bytes packed = pack(plain);
  packed.insert(packed.end(), packed.begin(), packed.end());
  EXPECT_FALSE(unpack(packed, 2 * plain.size()));
}

TEST_P(Codec, AnyOtherPlainLengthIsCorrupt) {
  const Bytes plain = text(20'000);
  const Bytes packed = pack(plain);
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, plain.size() - 1,
                                   plain.size() + 1, 2 * plain.size(), limits::frame_payload}) {
    const auto unpacked = unpack(packed, length);
    ASSERT_FALSE(unpacked) << length;
    EXPECT_EQ(unpacked.error().code(), ErrorCode::corrupt);
  }
}

// Checksums are the caller's: damage may pass, as other bytes, but never as more or fewer of them.
TEST_P(Codec, DamagedDataGiveAnErrorOrOtherBytesAndNothingWorse) {
  if (!packs_anything()) GTEST_SKIP() << "there is nothing that could be damaged";
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const Bytes plain = text(8'000);
  const Bytes packed = pack(plain);
  int refused = 0;
  for (int round = 0; round < 2'000; ++round) {
    Bytes damaged = packed;
    for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips)
      damaged[random() %
              (round % 2 == 0 ? damaged.size() : std::min<std::size_t>(damaged.size(), 16))] ^=
          static_cast<std::byte>(1u << (random() % 8));
    if (round % 4 == 3) damaged.resize(random() % damaged.size());
    const auto unpacked = unpack(damaged, plain.size());
    if (unpacked) continue;
    ++refused;
    ASSERT_EQ(unpacked.error().code(), ErrorCode::corrupt);
  }
  EXPECT_GT(refused, 100);
  EXPECT_EQ(unpack(packed, plain.size()).value(), plain) << "and it still works";
}

TEST_P(Codec, RandomBytesAreNoBlock) {
  if (!packs_anything()) GTEST_SKIP() << "any bytes are";
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 500; ++round)
    EXPECT_FALSE(unpack(random_bytes(1'000 + random() % 1'000, random), limits::chunk_size));
}

TEST_P(Codec, BlocksOverTheLimitAreRefusedBeforeAnythingElse) {
  const Bytes large(limits::frame_payload + 1);
  Bytes packed(10, std::byte{1});
  EXPECT_EQ(compressor->compress(large, packed).error().code(), ErrorCode::too_large);
  Bytes room(limits::frame_payload + 1);
  EXPECT_EQ(decompressor->decompress(ByteView(large).first(10), room).error().code(),
            ErrorCode::too_large);
  EXPECT_EQ(decompressor->decompress(large, std::span(room).first(10)).error().code(),
            ErrorCode::too_large);
}

TEST_P(Codec, TwoThreadsWithOneObjectEachDoNotMeet) {
  const Setting shared = setting;
  const auto work = [shared](int number, std::string& failure) {
    const auto own_compressor = make_compressor(shared).value();
    const auto own_decompressor = make_decompressor(shared.algorithm).value();
    for (int round = 0; round < 20; ++round) {
      const Bytes plain = text(static_cast<std::size_t>(1'000 + 500 * round + number));
      Bytes packed, unpacked(plain.size());
      if (!own_compressor->compress(plain, packed).value_or(false)) continue;
      const Status status = own_decompressor->decompress(packed, unpacked);
      if (!status) failure = status.error().message();
      if (unpacked != plain) failure = "other bytes";
    }
  };
  std::array<std::string, 2> failures;
  {
    const std::jthread one(work, 0, std::ref(failures[0])), two(work, 1, std::ref(failures[1]));
  }
  EXPECT_EQ(failures[0], "");
  EXPECT_EQ(failures[1], "");
}

INSTANTIATE_TEST_SUITE_P(Settings, Codec,
                         testing::Values("none", "lz4", "lz4:3", "lz4:9", "lz4:12", "snappy",
                                         "zlib", "zlib:1", "zlib:9", "zstd", "zstd:-7", "zstd:-1",
                                         "zstd:1", "zstd:3", "zstd:6", "zstd:19"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::ranges::replace(name, ':', '_');
                           std::ranges::replace(name, '-', 'm');
                           return name;
                         });

// None packs nothing, but a frame may say that it holds plain bytes.
TEST(NoCodec, UnpacksTheBytesThemselves) {
  const auto decompressor = make_decompressor(Algorithm::none).value();
  const Bytes plain = text(1'000);
  Bytes room(1'000);
  ASSERT_TRUE(decompressor->decompress(plain, room));
  EXPECT_EQ(room, plain);
  room.resize(999);
  EXPECT_EQ(decompressor->decompress(plain, room).error().code(), ErrorCode::corrupt);
}

// What the library itself would take, and a sender could hide something in.
TEST(Zstd, FramesThatHoldNothingAndThoseOfBefore10AreRefused) {
  const auto decompressor = make_decompressor(Algorithm::zstd).value();
  Bytes packed;
  const Bytes plain = text(1'000);
  ASSERT_TRUE(make_compressor({Algorithm::zstd, 1}).value()->compress(plain, packed).value());
  Bytes room(plain.size());
  ASSERT_TRUE(decompressor->decompress(packed, room));

  // A skippable frame of no bytes: magic number 0x184D2A50, length 0 (RFC 8878, 3.1.2).
  Bytes hidden{std::byte{0x50}, std::byte{0x2a}, std::byte{0x4d}, std::byte{0x18},
               std::byte{0},    std::byte{0},    std::byte{0},    std::byte{0}};
  hidden.insert(hidden.end(), packed.begin(), packed.end());
  EXPECT_FALSE(decompressor->decompress(hidden, room));

  // A whole frame of 0.7: magic number 0xFD2FB527, one segment of 4 bytes, a raw block, the end.
  const Bytes old{std::byte{0x27}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd},
                  std::byte{0x20}, std::byte{0x04}, std::byte{0x40}, std::byte{0x00},
                  std::byte{0x04}, std::byte{'i'},  std::byte{'c'},  std::byte{'b'},
                  std::byte{'d'},  std::byte{0xc0}, std::byte{0x00}, std::byte{0x00}};
  EXPECT_FALSE(decompressor->decompress(old, std::span(room).first(4)));
}

// A frame may claim a window of gigabytes. Nothing is allocated by it.
TEST(Zstd, AHugeWindowCostsNothing) {
  // Magic number; descriptor 0: no content size, window byte follows; 0xa0: 1 GiB; one raw, last
  // block of four bytes (RFC 8878, 3.1.1).
  const Bytes packed{std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd},
                     std::byte{0x00}, std::byte{0xa0}, std::byte{0x21}, std::byte{0x00},
                     std::byte{0x00}, std::byte{'i'},  std::byte{'c'},  std::byte{'b'},
                     std::byte{'d'}};
  const auto decompressor = make_decompressor(Algorithm::zstd).value();
  Bytes room(4);
  ASSERT_TRUE(decompressor->decompress(packed, room));
  EXPECT_EQ(as_text(room), "icbd");
}

}  // namespace
}  // namespace icbd::codec
