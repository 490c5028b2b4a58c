#include "icbd/base/fingerprint.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include "icbd/base/bytes.h"

namespace icbd {
namespace {

TEST(FingerprintTest, TellsBytesApart) {
  Bytes bytes(128 * 1024, std::byte{1});
  const Fingerprint before = fingerprint(bytes);
  EXPECT_EQ(fingerprint(bytes), before);
  bytes.back() = std::byte{0};
  EXPECT_NE(fingerprint(bytes), before);
  bytes.pop_back();
  EXPECT_NE(fingerprint(bytes), before);
}

// Source: the XXH3 test vectors of xxHash 0.8: no bytes, seed 0.
TEST(FingerprintTest, IsXxh3) {
  EXPECT_EQ(fingerprint({}).value(), 0x2D06800538D394C2u);
}

// Sizes around those at which XXH3 goes another way, and where the pieces of one stripe meet.
TEST(FingerprintTest, OfPiecesIsThatOfTheWhole) {
  Bytes bytes(300'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i % 251);
  const ByteView all(bytes);
  for (const std::size_t size : {0, 1, 16, 128, 240, 241, 1023, 1024, 1025, 131072, 300'000}) {
    const ByteView whole = all.first(size);
    for (const std::size_t first : {std::size_t{0}, size / 3, size}) {
      FingerprintOfPieces pieces;
      pieces.add(whole.first(first));
      pieces.add(whole.subspan(first));
      EXPECT_EQ(pieces.value(), fingerprint(whole)) << size << " bytes, cut at " << first;
    }
  }
}

// Source: the XXH3 test vectors of xxHash 0.8; the library's plain code must say the same as the
// code for this processor.
TEST(FingerprintTest, IsTheSameOnEveryProcessor) {
  Bytes bytes(2048);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(fingerprint(bytes).value(), XXH3_64bits(bytes.data(), bytes.size()));
}

}  // namespace
}  // namespace icbd
