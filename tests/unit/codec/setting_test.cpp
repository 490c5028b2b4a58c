#include <gmock/gmock.h>

#include "icbd/codec/codec.h"

namespace icbd::codec {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Setting, IsAnAlgorithmAndALevelIfItHasAny) {
  EXPECT_EQ(parse_setting("none").value(), Setting{});
  EXPECT_EQ(parse_setting("snappy").value(), (Setting{Algorithm::snappy, 0}));
  EXPECT_EQ(parse_setting("lz4").value(), (Setting{Algorithm::lz4, 0}));
  EXPECT_EQ(parse_setting("lz4:9").value(), (Setting{Algorithm::lz4, 9}));
  EXPECT_EQ(parse_setting("zlib:1").value(), (Setting{Algorithm::zlib, 1}));
  EXPECT_EQ(parse_setting("zstd:-1").value(), (Setting{Algorithm::zstd, -1}));
  EXPECT_EQ(parse_setting("zstd:19").value(), (Setting{Algorithm::zstd, 19}));
}

TEST(Setting, IsReadAsItIsWritten) {
  for (const char* text : {"none", "lz4", "lz4:3", "lz4:12", "snappy", "zlib", "zlib:1", "zlib:9",
                           "zstd", "zstd:-7", "zstd:-1", "zstd:1", "zstd:19"}) {
    const auto setting = parse_setting(text);
    ASSERT_TRUE(setting) << setting.error().message();
    EXPECT_EQ(to_string(*setting), text);
    EXPECT_TRUE(make_compressor(*setting)) << text;
  }
}

TEST(Setting, WhatIsRefusedIsAnsweredWithWhatIsAllowed) {
  for (const char* text :
       {"",        ":",       "zip",     "ZSTD",    "zstd:",    "zstd:0",
        "zstd:20", "zstd:-8", "zstd:3x", "zstd: 3", "zstd:+3",  "zstd:99999999999999999999",
        "lz4:1",   "lz4:13",  "lz4:-1",  "zlib:10", "snappy:1", "none:1",
        "none:0",  "zstd:3:3"}) {
    const auto setting = parse_setting(text);
    ASSERT_FALSE(setting) << text;
    EXPECT_EQ(setting.error().code(), ErrorCode::invalid_argument);
    EXPECT_THAT(setting.error().message(),
                AllOf(HasSubstr("none, lz4"), HasSubstr("zstd:1 to zstd:19")));
  }
}

TEST(Setting, AMistypedNameIsAnsweredWithTheOneThatWasMeant) {
  EXPECT_THAT(parse_setting("zsdt:3").error().message(), HasSubstr("did you mean zstd?"));
  EXPECT_THAT(parse_setting("snapy").error().message(), HasSubstr("did you mean snappy?"));
  EXPECT_THAT(parse_setting("zstd:77").error().message(), Not(HasSubstr("did you mean")));
}

TEST(Algorithm, KeepsItsByteOnTheWire) {
  const Algorithm all[] = {Algorithm::none, Algorithm::lz4, Algorithm::snappy, Algorithm::zlib,
                           Algorithm::zstd};
  for (std::uint8_t byte = 0; byte < 5; ++byte) {
    EXPECT_EQ(parse_algorithm(byte).value(), all[byte]);
    EXPECT_EQ(static_cast<std::uint8_t>(all[byte]), byte);
  }
}

TEST(Algorithm, OfALaterReleaseIsUnsupported) {
  for (const int byte : {5, 6, 255}) {
    const auto algorithm = parse_algorithm(static_cast<std::uint8_t>(byte));
    ASSERT_FALSE(algorithm);
    EXPECT_EQ(algorithm.error().code(), ErrorCode::unsupported);
    EXPECT_FALSE(make_decompressor(static_cast<Algorithm>(byte)));
  }
}

TEST(Algorithm, HasNoCompressorForALevelThatItDoesNotHave) {
  EXPECT_EQ(make_compressor({Algorithm::zlib, 10}).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(make_compressor({Algorithm::snappy, 1}).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace icbd::codec
