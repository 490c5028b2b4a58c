#include "icbd/sendstream/decompress.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "lzo.h"
#include "streams.h"

namespace icbd::sendstream {
namespace {

using testing::HasSubstr;

// The files of the compressed golden streams, as golden/make.sh writes them.
std::string expected_text() {
  std::string text;
  for (int number = 0; number < 60000; ++number) text += std::to_string(number / 500) + " ";
  text.back() = '\n';
  std::fill_n(text.begin() + 8 * 4096, 4096, 'x');
  return text;
}

class Decompress : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto read = read_file(std::filesystem::path(ICBD_GOLDEN_STREAMS) /
                              (std::string("compressed-") + GetParam() + "-v2.stream"),
                          1 << 20);
    ASSERT_TRUE(read) << read.error().message();
    stream = std::move(*read);
  }

  // Calls `visit` for each encoded write; what it is given is its own.
  template <typename Visit>
  void for_each_write(Visit visit) {
    Decoder decoder;
    decoder.feed(stream);
    int count = 0;
    while (!decoder.ended()) {
      auto command = decoder.next();
      ASSERT_TRUE(command && *command);
      if (const auto* write = std::get_if<EncodedWrite>(&**command)) visit(*write), ++count;
    }
    EXPECT_GE(count, 4);
  }

  Bytes stream;
};

TEST_P(Decompress, GivesWhatTheFileHolds) {
  std::string inline_text;
  for (int i = 0; i < 250; ++i) inline_text += "inline";
  std::string original = expected_text();
  // What `middle` shares was there before the block of x was written.
  for_each_write([&](const EncodedWrite& write) {
    const auto plain = decompress(write);
    ASSERT_TRUE(plain) << dump(write) << ": " << plain.error().message();
    ASSERT_EQ(plain->size(), write.unencoded_file_length);
    const std::string expected = write.path == "inline" ? inline_text
                                 : write.path == "text" ? original.substr(write.offset)
                                                        : original.substr(40960 + write.offset);
    EXPECT_EQ(as_text(*plain), expected.substr(0, plain->size())) << dump(write);
  });
}

TEST_P(Decompress, DamagedDataGiveAnErrorOrOtherBytesAndNothingWorse) {
  const char* given = std::getenv("ICBD_TEST_SEED");
  const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  int refused = 0;
  for_each_write([&](EncodedWrite write) {
    for (int round = 0; round < 200; ++round) {
      Bytes data(write.data.begin(), write.data.end());
      for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips)
        data[random() % std::min<std::size_t>(data.size(), 512)] ^=
            static_cast<std::byte>(1u << (random() % 8));
      if (random() % 4 == 0) data.resize(1 + random() % data.size());
      EncodedWrite damaged = write;
      damaged.data = data;
      const auto plain = decompress(damaged);
      if (plain) {
        EXPECT_EQ(plain->size(), write.unencoded_file_length);
      } else {
        EXPECT_EQ(plain.error().code(), ErrorCode::corrupt);
        ++refused;
      }
    }
  });
  EXPECT_GT(refused, 0);
}

INSTANTIATE_TEST_SUITE_P(Algorithms, Decompress, testing::Values("zlib", "lzo", "zstd"),
                         [](const auto& tested) { return std::string(tested.param); });

EncodedWrite some_write(ByteView data) {
  return {"f", 0, 4096, 4096, 0, 1, std::nullopt, data};
}

TEST(CheckEncoding, LengthsMustFitOneAnother) {
  const Bytes data(100);
  EXPECT_TRUE(check_encoding(some_write(data)));
  const auto refused = [&](auto change) {
    EncodedWrite write = some_write(data);
    change(write);
    const Status status = check_encoding(write);
    return status ? ErrorCode::internal : status.error().code();
  };
  EXPECT_EQ(refused([](auto& write) { write.unencoded_offset = 1; }), ErrorCode::corrupt);
  EXPECT_EQ(refused([](auto& write) { write.unencoded_offset = ~0ull; }), ErrorCode::corrupt);
  EXPECT_EQ(refused([](auto& write) { write.unencoded_file_length = 0; }), ErrorCode::corrupt);
  EXPECT_EQ(refused([](auto& write) { write.unencoded_file_length = ~0ull; }), ErrorCode::corrupt);
  EXPECT_EQ(refused([](auto& write) { write.data = {}; }), ErrorCode::corrupt);
  EXPECT_EQ(refused([](auto& write) { write.unencoded_length = limits::extent_length + 1; }),
            ErrorCode::too_large);
}

TEST(CheckEncoding, WhatIsNotKnownIsUnsupported) {
  const Bytes data(100);
  for (const std::uint32_t compression : {0u, 8u, 0xffffffffu}) {
    EncodedWrite write = some_write(data);
    write.compression = compression;
    EXPECT_EQ(decompress(write).error().code(), ErrorCode::unsupported) << compression;
  }
  EncodedWrite encrypted = some_write(data);
  encrypted.encryption = 1;
  EXPECT_EQ(decompress(encrypted).error().code(), ErrorCode::unsupported);
}

// An extent that unpacks to less than it says ends in zeros.
TEST(Decompress, ShortDataAreFollowedByZeros) {
  // "abc" as a stored zlib stream.
  constexpr std::array<unsigned char, 14> packed = {0x78, 0x01, 0x01, 0x03, 0x00, 0xfc, 0xff,
                                                    'a',  'b',  'c',  0x02, 0x4d, 0x01, 0x27};
  EncodedWrite write = some_write(std::as_bytes(std::span(packed)));
  write.unencoded_file_length = write.unencoded_length = 5;
  EXPECT_EQ(as_text(decompress(write).value()), std::string("abc\0\0", 5));
  write.unencoded_file_length = write.unencoded_length = 2;
  EXPECT_EQ(as_text(decompress(write).value()), "ab");
}

TEST(Lzo, TheEndMarkAndLiterals) {
  // 17 + 3 literals, then "copy from 16 KiB and more, distance 0", which is the end.
  constexpr std::array<unsigned char, 7> packed = {20, 'a', 'b', 'c', 0x11, 0x00, 0x00};
  std::array<std::byte, 16> output{};
  const auto written = unpack_lzo1x(std::as_bytes(std::span(packed)), output);
  ASSERT_TRUE(written) << written.error().message();
  EXPECT_EQ(as_text(ByteView(output).first(*written)), "abc");
  // Neither without the end mark nor into too small an output.
  EXPECT_FALSE(unpack_lzo1x(std::as_bytes(std::span(packed)).first(4), output));
  EXPECT_FALSE(unpack_lzo1x(std::as_bytes(std::span(packed)), std::span(output).first(2)));
}

TEST(Lzo, AMatchMayNotReachBeforeTheBeginning) {
  constexpr std::array<unsigned char, 8> packed = {18, 'a', 0x40, 0x01, 0x11, 0x00, 0x00, 0x00};
  std::array<std::byte, 64> output{};
  EXPECT_THAT(unpack_lzo1x(std::as_bytes(std::span(packed)), output).error().message(),
              HasSubstr("before their beginning"));
}

}  // namespace
}  // namespace icbd::sendstream
