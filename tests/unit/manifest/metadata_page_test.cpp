#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

using ::testing::HasSubstr;

// In one_of_each().
constexpr std::size_t file_at = 5;
constexpr std::size_t hard_link_at = 6;
constexpr std::size_t symlink_at = 9;

TEST(MetadataPage, KeepsEveryFieldOfEveryType) {
  const auto decoded = decode_metadata_page(encode_metadata_page(one_of_each()));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(*decoded, one_of_each());
}

// `spoil` makes the entries wrong; decoding says so with `reason`.
struct Violation {
  const char* reason;
  std::function<void(std::vector<Entry>&)> spoil;
};

class MetadataPageRefuses : public ::testing::TestWithParam<Violation> {};

TEST_P(MetadataPageRefuses, AsCorruptWithTheReason) {
  std::vector<Entry> entries = one_of_each();
  GetParam().spoil(entries);
  const auto decoded = decode_metadata_page(encode_metadata_page(entries));
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(decoded.error().message(), HasSubstr(GetParam().reason));
}

Violation bad_path(const char* reason, const std::string& path) {
  return {reason, [path](auto& entries) { entries = {make_entry(EntryType::fifo, path)}; }};
}

INSTANTIATE_TEST_SUITE_P(
    Paths, MetadataPageRefuses,
    ::testing::Values(
        bad_path("absolute", "/etc"), bad_path("an empty component", "etc//passwd"),
        bad_path("an empty component", "etc/"), bad_path("\"..\"", ".."),
        bad_path("\"..\"", "etc/../../passwd"), bad_path("\".\"", "./etc"),
        bad_path("NUL", std::string("a\0b", 3)),
        bad_path("limits::name_length", std::string(limits::name_length + 1, 'n')),
        bad_path("limits::path_length",
                 [] {
                   std::string path = "x";
                   while (path.size() <= limits::path_length) path += "/x";
                   return path;
                 }()),
        Violation{"the root must be a directory",
                  [](auto& entries) { entries = {make_entry(EntryType::fifo, "")}; }},
        Violation{"not in path order", [](auto& entries) { std::swap(entries[1], entries[4]); }},
        Violation{"not in path order", [](auto& entries) { entries[2] = entries[1]; }}));

INSTANTIATE_TEST_SUITE_P(
    Metadata, MetadataPageRefuses,
    ::testing::Values(
        Violation{"unknown type 9", [](auto& e) { e[file_at].type = EntryType{9}; }},
        Violation{"unknown type 0", [](auto& e) { e[file_at].type = EntryType{0}; }},
        Violation{"permission bits", [](auto& e) { e[file_at].mode = 010644; }},
        Violation{"nanoseconds", [](auto& e) { e[file_at].modified.nanoseconds = 1'000'000'000; }},
        Violation{"unknown attribute bits 0x8", [](auto& e) { e[file_at].attributes = 8; }},
        Violation{"no id", [](auto& e) { e[file_at].uid = 0xffffffff; }},
        Violation{"no id", [](auto& e) { e[file_at].gid = 0xffffffff; }},
        Violation{"out of range", [](auto& e) { e[2].device_major = 4096; }},
        Violation{"out of range", [](auto& e) { e[2].device_minor = 1u << 20; }},
        Violation{"without a target", [](auto& e) { e[symlink_at].target.clear(); }},
        Violation{"NUL in the target",
                  [](auto& e) { e[symlink_at].target = std::string("a\0", 2); }},
        Violation{"target over limits::path_length",
                  [](auto& e) { e[symlink_at].target.assign(limits::path_length, 't'); }},
        Violation{"of the first name", [](auto& e) { e[hard_link_at].target = "../etc"; }},
        Violation{"to a later name", [](auto& e) { e[hard_link_at].target = "pipe"; }},
        Violation{"to a later name", [](auto& e) { e[hard_link_at].target = "etc/passwd-"; }}));

INSTANTIATE_TEST_SUITE_P(
    Xattrs, MetadataPageRefuses,
    ::testing::Values(
        Violation{"not in order", [](auto& e) { std::swap(e[5].xattrs[0], e[5].xattrs[1]); }},
        Violation{"not in order", [](auto& e) { e[5].xattrs[1] = e[5].xattrs[0]; }},
        Violation{"name that is empty", [](auto& e) { e[5].xattrs[0].name.clear(); }},
        Violation{"NUL", [](auto& e) { e[5].xattrs[0].name[0] = '\0'; }},
        Violation{"limits::xattr_value_length",
                  [](auto& e) { e[5].xattrs[0].value.resize(limits::xattr_value_length + 1); }},
        Violation{"limits::xattrs_per_file", [](auto& e) {
                    e[5].xattrs.clear();
                    for (std::size_t i = 0; i <= limits::xattrs_per_file; ++i)
                      e[5].xattrs.push_back({"user." + std::to_string(10'000 + i), {}});
                  }}));

INSTANTIATE_TEST_SUITE_P(
    Content, MetadataPageRefuses,
    ::testing::Values(
        Violation{"limits::file_size", [](auto& e) { e[file_at].size = limits::file_size + 1; }},
        Violation{"bytes of data", [](auto& e) { e[file_at].data_bytes = e[file_at].size + 1; }},
        Violation{"1 digests, but a file of 131079 bytes has 2",
                  [](auto& e) { e[file_at].digests.pop_back(); }},
        Violation{"3 digests, but a file of 131079 bytes has 2",
                  [](auto& e) { e[file_at].digests.emplace_back(); }},
        // 17 chunks do not stand in the entry: one digest of a page does.
        Violation{"2 digests, but a file of 2228224 bytes has 1",
                  [](auto& e) { e[file_at].size = 17 * limits::chunk_size; }}));

TEST(MetadataPage, RefusesBytesAfterTheLastEntry) {
  Bytes page = encode_metadata_page(one_of_each());
  page.push_back({});
  EXPECT_THAT(decode_metadata_page(page).error().message(), HasSubstr("1 bytes after"));
}

TEST(MetadataPage, RefusesEveryPrefix) {
  const Bytes page = encode_metadata_page(one_of_each());
  for (std::size_t length = 0; length < page.size(); ++length) {
    const auto decoded = decode_metadata_page(ByteView(page).first(length));
    ASSERT_FALSE(decoded) << length;
    EXPECT_EQ(decoded.error().code(), ErrorCode::corrupt);
  }
}

// What decodes at all encodes to the same bytes: one content has one digest.
TEST(MetadataPage, HasOneEncodingForOneContent) {
  const Bytes page = encode_metadata_page(one_of_each());
  int accepted = 0;
  for (std::size_t at = 0; at < page.size(); ++at) {
    for (const unsigned flip : {0x01u, 0x02u, 0x04u, 0x08u, 0x10u, 0x20u, 0x40u, 0x80u, 0xffu}) {
      Bytes spoiled = page;
      spoiled[at] ^= static_cast<std::byte>(flip);
      const auto decoded = decode_metadata_page(spoiled);
      if (!decoded) continue;
      ++accepted;
      ASSERT_EQ(encode_metadata_page(*decoded), spoiled) << at << " " << flip;
    }
  }
  EXPECT_GT(accepted, 0);
}

TEST(MetadataPage, RefusesAPathThatSharesLessThanItCould) {
  const std::vector<Entry> entries = {make_root(), make_entry(EntryType::fifo, "ab"),
                                      make_entry(EntryType::fifo, "ac")};
  const Bytes page = encode_metadata_page(entries);
  // The last entry begins with u16 shared = 1, u16 rest = 1, "c"; written as shared = 0, "ac".
  const std::size_t entry_length = 5 + 1 + 25;
  const std::size_t at = page.size() - entry_length;
  ASSERT_EQ(page[at], std::byte{1});
  Bytes longer = page;
  longer[at] = std::byte{0};
  longer[at + 2] = std::byte{2};
  longer.insert(longer.begin() + static_cast<std::ptrdiff_t>(at) + 4, std::byte{'a'});
  EXPECT_THAT(decode_metadata_page(longer).error().message(), HasSubstr("shares less"));
}

TEST(MetadataPage, RefusesAnEmptyPage) {
  EXPECT_THAT(decode_metadata_page(encode_metadata_page({})).error().message(),
              HasSubstr("0 entries"));
}

TEST(MetadataPage, RefusesToUnfoldIntoManyPaths) {
  std::vector<Entry> entries;
  for (int i = 10'000; i < 11'000; ++i)
    entries.push_back(make_entry(EntryType::fifo, std::to_string(i)));
  EXPECT_THAT(decode_metadata_page(encode_metadata_page(entries)).error().message(),
              HasSubstr("limits::metadata_page_target"));
}

TEST(MetadataPage, RefusesAPageOverTheLimit) {
  EXPECT_THAT(decode_metadata_page(Bytes(limits::manifest_page + 1)).error().message(),
              HasSubstr("limits::manifest_page"));
}

TEST(MetadataPage, NamesTheEntryPrintably) {
  const auto decoded =
      decode_metadata_page(encode_metadata_page(std::vector{make_entry(EntryType::fifo, "\n/..")}));
  EXPECT_THAT(decoded.error().message(), HasSubstr(R"(entry 0 "\x0a/..")"));
}

}  // namespace
}  // namespace icbd::manifest
