// Streams of a real kernel (made by golden/make.sh): they dump as expected, are the same bytes
// after decoding and encoding, and no damage to them goes unnoticed.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "icbd/base/file.h"

#include "streams.h"
#include "wire.h"

namespace icbd::sendstream {
namespace {

std::uint64_t test_seed() {
  const char* given = std::getenv("ICBD_TEST_SEED");
  return given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

class Golden : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto read = read_file(file(".stream"), 1 << 20);
    ASSERT_TRUE(read) << read.error().message();
    stream = std::move(*read);
  }
  static std::filesystem::path file(const char* extension) {
    return std::filesystem::path(ICBD_GOLDEN_STREAMS) / (std::string(GetParam()) + extension);
  }

  // Calls `visit(begin, end, before)` for each command: where it stands in the stream, and a
  // decoder that has decoded what stands before it.
  template <typename Visit>
  void for_each_command(Visit visit) {
    Decoder before;
    before.feed(ByteView(stream).first(wire::stream_header_size));
    ASSERT_FALSE(before.next().value());
    while (before.position() < stream.size()) {
      const std::size_t begin = before.position();
      const auto length = ByteReader(ByteView(stream).subspan(begin)).read<std::uint32_t>();
      const std::size_t end = begin + wire::command_header_size + length;
      ASSERT_NO_FATAL_FAILURE(visit(begin, end, before));
      before.feed(ByteView(stream).subspan(begin, end - begin));
      ASSERT_TRUE(before.next().value());
    }
  }

  Bytes stream;
};

TEST_P(Golden, DumpsAsExpected) {
  std::ifstream expected(file(".dump"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(expected, line);) lines.push_back(line);

  const Decoded decoded = decode_all(stream, 4096);
  EXPECT_TRUE(decoded.status) << decoded.status.error().message();
  EXPECT_EQ(decoded.lines, lines);
}

TEST_P(Golden, DecodedAndEncodedItIsTheSameBytes) {
  Decoder decoder;
  decoder.feed(stream);
  Bytes again;
  while (!decoder.ended()) {
    const std::size_t begin = again.size();
    const auto command = decoder.next();
    ASSERT_TRUE(command && *command);
    if (again.empty()) again = encode_header(decoder.version());
    const Bytes encoded = encode(**command, decoder.version()).value();
    again.insert(again.end(), encoded.begin(), encoded.end());
    ASSERT_TRUE(std::equal(again.begin() + static_cast<std::ptrdiff_t>(begin), again.end(),
                           stream.begin() + static_cast<std::ptrdiff_t>(begin)))
        << dump(**command);
  }
  EXPECT_EQ(again.size(), stream.size());
}

TEST_P(Golden, CutAtAnyByteItIsCorrupt) {
  Decoder decoder;
  for (std::size_t length = 0; length < stream.size(); ++length) {
    const Status finished = decoder.finish();
    ASSERT_FALSE(finished) << length;
    ASSERT_EQ(finished.error().code(), ErrorCode::corrupt) << length;
    decoder.feed(ByteView(stream).subspan(length, 1));
    ASSERT_TRUE(decoder.next()) << length;
  }
  EXPECT_TRUE(decoder.finish());
}

// Of each byte every bit in the long tier, one by chance in the short one.
TEST_P(Golden, AFlippedBitOfACommandIsAnError) {
  const bool long_tier = std::getenv("ICBD_LONG") != nullptr;
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  for_each_command([&](std::size_t begin, std::size_t end, const Decoder& before) {
    Bytes bytes(stream.begin() + static_cast<std::ptrdiff_t>(begin),
                stream.begin() + static_cast<std::ptrdiff_t>(end));
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      if (!long_tier) bit += random() % 8;
      const auto mask = static_cast<std::byte>(1u << (bit % 8));
      bytes[bit / 8] ^= mask;
      Decoder decoder = before;
      decoder.feed(bytes);
      auto command = decoder.next();
      // A greater length wants to swallow what follows.
      if (command && !*command) {
        decoder.feed(ByteView(stream).subspan(end));
        command = decoder.next();
      }
      ASSERT_FALSE(command && *command) << "bit " << bit << " of the command at " << begin;
      ASSERT_FALSE(decoder.finish()) << "bit " << bit << " of the command at " << begin;
      bytes[bit / 8] ^= mask;
      if (!long_tier) bit |= 7;
    }
  });
}

// No checksum covers the header.
TEST_P(Golden, AFlippedBitOfTheHeaderIsAnErrorOrChangesNoCommand) {
  const Decoded whole = decode_all(stream);
  for (std::size_t bit = 0; bit < wire::stream_header_size * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1u << (bit % 8));
    stream[bit / 8] ^= mask;
    const Decoded decoded = decode_all(stream);
    stream[bit / 8] ^= mask;
    if (decoded.status) {
      EXPECT_EQ(decoded.lines, whole.lines) << "bit " << bit;
      EXPECT_GE(bit / 8, wire::magic.size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernel, Golden,
                         testing::Values("full-v1", "full-v2", "incremental-v2", "shape-v1",
                                         "shape-v2", "holes-v1", "holes-v2", "reflinks-v1",
                                         "reflinks-v2", "metadata-v1", "metadata-v2",
                                         "compressed-zlib-v2", "compressed-lzo-v2",
                                         "compressed-zstd-v2"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace icbd::sendstream
