#include "icbd/base/digest.h"

#include <gtest/gtest.h>

#include "icbd/base/bytes.h"
#include "icbd/base/limits.h"

namespace icbd {
namespace {

// FIPS 180-4, the examples that NIST publishes.
TEST(Sha256, AgreesWithKnownVectors) {
  EXPECT_EQ(sha256(as_bytes("abc")).to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256({}).to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(
      sha256(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).to_string(),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(Bytes(1'000'000, std::byte{'a'})).to_string(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256OfZeros, IsTheDigestOfThatManyZeros) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{4096},
                                   limits::chunk_size - 1, limits::chunk_size})
    EXPECT_EQ(sha256_of_zeros(length), sha256(Bytes(length))) << length;
}

TEST(DigestText, ParsesBack) {
  const Digest digest = sha256(as_bytes("abc"));
  EXPECT_EQ(Digest::parse(digest.to_string()).value(), digest);
  EXPECT_EQ(Digest::parse(std::string(64, 'F')).value().to_string(), std::string(64, 'f'));
}

TEST(DigestText, RefusesAllElse) {
  const std::string good(64, 'a');
  for (const std::string& text :
       {std::string(), good.substr(1), good + "a", good.substr(1) + "g", " " + good.substr(1)}) {
    const auto digest = Digest::parse(text);
    ASSERT_FALSE(digest) << text;
    EXPECT_EQ(digest.error().code(), ErrorCode::invalid_argument);
  }
}

}  // namespace
}  // namespace icbd
