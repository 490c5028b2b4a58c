#include "icbd/replicator/pending_map.h"

#include <gtest/gtest.h>

namespace icbd::replicator {
namespace {

PendingMap example() {
  PendingMap map;
  map.manifest = sha256(as_bytes("a manifest"));
  map.wanted = true;
  map.lineages.resize(3);
  map.lineages[1].parent = FileIndex(7);
  map.lineages[1].updated = {{0, 4096}, {131072, 8192}};
  map.lineages[1].rewritten = {{1 << 20, 5}};
  map.done = {true, false, true, true, false, false, true, false, true};
  return map;
}

TEST(PendingMap, ComesBackAsItWas) {
  const PendingMap map = example();
  const auto decoded = decode_pending_map(encode(map), 3, 9);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message();
  EXPECT_EQ(decoded->manifest, map.manifest);
  EXPECT_TRUE(decoded->wanted);
  EXPECT_EQ(decoded->done, map.done);
  ASSERT_EQ(decoded->lineages.size(), 3u);
  EXPECT_FALSE(decoded->lineages[0].parent);
  EXPECT_EQ(decoded->lineages[1].parent, FileIndex(7));
  EXPECT_EQ(decoded->lineages[1].updated, map.lineages[1].updated);
  EXPECT_EQ(decoded->lineages[1].rewritten, map.lineages[1].rewritten);
}

TEST(PendingMap, EveryCutAndEveryFlippedBitIsRefused) {
  const Bytes bytes = encode(example());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto decoded = decode_pending_map(ByteView(bytes).first(length), 3, 9);
    ASSERT_FALSE(decoded.has_value()) << length;
    EXPECT_EQ(decoded.error().code(), ErrorCode::corrupt);
  }
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    Bytes flipped = bytes;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_pending_map(flipped, 3, 9).has_value()) << "bit " << bit;
  }
}

TEST(PendingMap, AMapOfAnotherVersionIsRefused) {
  EXPECT_FALSE(decode_pending_map(encode(example()), 4, 9).has_value());
  EXPECT_FALSE(decode_pending_map(encode(example()), 3, 10).has_value());
}

}  // namespace
}  // namespace icbd::replicator
