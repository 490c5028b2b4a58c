#include "icbd/base/fingerprint.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace icbd
