#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

using ::testing::HasSubstr;

Root some_root() {
  Root root;
  root.entries = 300;
  root.file_bytes = 1 << 20;
  root.data_bytes = 1 << 10;
  root.pages = {{digest_of(1), 100}, {digest_of(2), 200}};
  return root;
}

TEST(RootPage, KeepsEveryField) {
  const auto decoded = decode_root(encode_root(some_root()));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(*decoded, some_root());
}

TEST(RootPage, RefusesEveryPrefixAndBytesAfterItsEnd) {
  Bytes page = encode_root(some_root());
  for (std::size_t length = 0; length < page.size(); ++length)
    EXPECT_EQ(decode_root(ByteView(page).first(length)).error().code(), ErrorCode::corrupt);
  page.push_back({});
  EXPECT_EQ(decode_root(page).error().code(), ErrorCode::corrupt);
}

TEST(RootPage, RefusesCountsThatDoNotAddUp) {
  Root root = some_root();
  root.entries = 301;
  EXPECT_THAT(decode_root(encode_root(root)).error().message(),
              HasSubstr("301 entries, but its metadata pages have 300"));

  root = some_root();
  root.pages[0].entries = 0;
  root.pages[1].entries = 300;
  EXPECT_THAT(decode_root(encode_root(root)).error().message(), HasSubstr("without entries"));

  root = some_root();
  root.data_bytes = root.file_bytes + 1;
  EXPECT_THAT(decode_root(encode_root(root)).error().message(), HasSubstr("more bytes of data"));

  EXPECT_THAT(decode_root(encode_root(Root{})).error().message(), HasSubstr("no entries"));

  root.data_bytes = 0;
  root.pages = {{digest_of(1), limits::entries_per_version}, {digest_of(2), 1}};
  root.entries = limits::entries_per_version + 1;
  EXPECT_THAT(decode_root(encode_root(root)).error().message(),
              HasSubstr("limits::entries_per_version"));
}

TEST(RootPage, RefusesSumsThatWrapAround) {
  Root root = some_root();
  root.pages = {{digest_of(1), UINT32_MAX}, {digest_of(2), 301}};  // 300 in 32 bits
  EXPECT_EQ(decode_root(encode_root(root)).error().code(), ErrorCode::corrupt);
}

TEST(DigestPage, KeepsOneToSixtyFourDigests) {
  for (std::size_t count = 1; count <= page_digests; ++count) {
    const std::vector<Digest> digests = chunks_from(7, count);
    const auto decoded = decode_digest_page(encode_digest_page(digests));
    ASSERT_TRUE(decoded) << decoded.error().message();
    EXPECT_EQ(*decoded, digests);
  }
}

TEST(DigestPage, RefusesAnyOtherLength) {
  const Bytes full = encode_digest_page(chunks_from(7, page_digests));
  for (std::size_t length = 0; length < full.size(); ++length) {
    if (length > 2 && (length - 2) % 32 == 0) continue;
    EXPECT_EQ(decode_digest_page(ByteView(full).first(length)).error().code(), ErrorCode::corrupt);
  }
  Bytes over = full;
  over.resize(full.size() + 32);
  EXPECT_EQ(decode_digest_page(over).error().code(), ErrorCode::corrupt);
}

TEST(Pages, OfOneKindAreNeverReadAsAnother) {
  const Bytes root = encode_root(some_root());
  const Bytes metadata = encode_metadata_page(std::vector{make_root()});
  const Bytes digests = encode_digest_page(chunks_from(1, 3));
  for (const Bytes& page : {metadata, digests})
    EXPECT_THAT(decode_root(page).error().message(), HasSubstr("another kind"));
  for (const Bytes& page : {root, digests})
    EXPECT_THAT(decode_metadata_page(page).error().message(), HasSubstr("another kind"));
  for (const Bytes& page : {root, metadata})
    EXPECT_THAT(decode_digest_page(page).error().message(), HasSubstr("another kind"));
}

TEST(Pages, OfALaterFormatAreRefusedByVersion) {
  Bytes page = encode_root(some_root());
  page[1] = std::byte{2};
  EXPECT_THAT(decode_root(page).error().message(), HasSubstr("format version 2"));
}

}  // namespace
}  // namespace icbd::manifest
