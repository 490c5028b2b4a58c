#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

using ::testing::HasSubstr;

// Remembers which pages it was given.
class CountingPageStore final : public PageStore {
 public:
  Result<Bytes> find(const Digest& digest) const override { return pages_.find(digest); }
  bool contains(const Digest& digest) const override { return pages_.contains(digest); }
  Result<Digest> add(ByteView page) override {
    auto digest = pages_.add(page);
    if (digest) distinct_.insert(*digest);
    return digest;
  }
  const std::set<Digest>& distinct() const { return distinct_; }

 private:
  MemoryPageStore pages_;
  std::set<Digest> distinct_;
};

// Pages of `after` that `before` does not have: what a cache has to fetch.
std::size_t count_new(const CountingPageStore& before, const CountingPageStore& after) {
  std::size_t count = 0;
  for (const Digest& digest : after.distinct()) count += before.distinct().contains(digest) ? 0 : 1;
  return count;
}

// Ten directories of 1,000 small files each; file numbers are even.
std::vector<Entry> ten_thousand_files() {
  std::vector<Entry> entries = {make_root()};
  for (unsigned directory = 0; directory < 10; ++directory) {
    const std::string name = fmt::format("directory-{}", directory);
    entries.push_back(make_directory(name));
    for (unsigned file = 0; file < 1000; ++file)
      entries.push_back(make_small_file(fmt::format("{}/file-{:04}", name, 2 * file), 1 + file,
                                        directory * 1000 + file));
  }
  return entries;
}

Status add_to(Builder& builder, Entry entry) {
  const std::vector<Digest> chunks = std::exchange(entry.digests, {});
  return builder.add(std::move(entry), chunks);
}

TEST(Builder, GivesOneDigestToOneContent) {
  MemoryPageStore first, second;
  EXPECT_EQ(build(first, ten_thousand_files()), build(second, ten_thousand_files()));
  std::vector<Entry> touched = ten_thousand_files();
  touched[5000].modified.nanoseconds += 1;
  EXPECT_NE(build(second, touched), build(first, ten_thousand_files()));
}

TEST(Builder, PagesReadBackAndEncodeAgainToTheSameBytes) {
  CountingPageStore pages;
  const Digest root = build(pages, ten_thousand_files());
  const auto reader = Reader::open(pages, root);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->entries().value(), ten_thousand_files());
  EXPECT_EQ(pages.add(encode_root(reader->root())).value(), root);
  for (const Root::MetadataPage& page : reader->root().pages) {
    const Bytes bytes = pages.find(page.digest).value();
    EXPECT_EQ(encode_metadata_page(decode_metadata_page(bytes).value()), bytes);
    EXPECT_LT(bytes.size(), 2 * limits::metadata_page_target);
  }
}

// Boundaries depend on the paths, so a change shifts no pages but those around it.
TEST(Builder, AnInsertedFileChangesACoupleOfPages) {
  const std::vector<Entry> original = ten_thousand_files();
  CountingPageStore before;
  const Digest root = build(before, original);
  ASSERT_GT(Reader::open(before, root)->root().pages.size(), 50u);

  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr int rounds = 12;
  std::size_t changed = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<Entry> entries = original;
    const std::string path =
        fmt::format("directory-{}/file-{:04}", random() % 10, 2 * (random() % 1000) + 1);
    const auto place = std::ranges::lower_bound(entries, path, path_less, &Entry::path);
    entries.insert(place, make_small_file(path, 5));
    CountingPageStore after;
    build(after, entries);
    const std::size_t pages = count_new(before, after) - 1;  // the root is always new
    EXPECT_GE(pages, 1u);
    EXPECT_LE(pages, 12u) << path;
    changed += pages;
  }
  EXPECT_LE(changed, 4u * rounds);
}

TEST(Builder, AChangedChunkOfALargeFileChangesOnePageOfEachLevel) {
  FileWithChunks disk = make_file("disk.raw", std::uint64_t{4} << 30);
  const auto build_disk = [&disk](PageStore& pages) {
    Builder builder(pages);
    EXPECT_TRUE(builder.add(make_root(), {}));
    EXPECT_TRUE(builder.add(disk.entry, disk.chunks));
    EXPECT_TRUE(builder.finish());
  };
  CountingPageStore before, after;
  build_disk(before);
  EXPECT_EQ(before.distinct().size(), 512u + 8 + 1 + 1);  // two levels, metadata, root
  disk.chunks[20'000] = digest_of(99);
  build_disk(after);
  EXPECT_EQ(count_new(before, after), 1u + 1 + 1 + 1);
}

TEST(Builder, KeepsPagesOfZerosOnce) {
  Entry disk = make_entry(EntryType::file, "disk.raw");
  disk.size = std::uint64_t{4} << 30;
  CountingPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(builder.add(make_root(), {}));
  const std::vector<Digest> zeros(disk.chunk_count(), sha256_of_zeros(limits::chunk_size));
  ASSERT_TRUE(builder.add(disk, zeros));
  ASSERT_TRUE(builder.finish());
  EXPECT_EQ(pages.distinct().size(), 4u);
}

TEST(Builder, CountsTheBytesThatAreNotZero) {
  FileWithChunks file = make_file("sparse", 2 * limits::chunk_size + 100);
  file.entry.data_bytes = 0;
  file.chunks[1] = sha256_of_zeros(limits::chunk_size);
  MemoryPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(builder.add(make_root(), {}));
  ASSERT_TRUE(builder.add(file.entry, file.chunks));
  file.entry.path = "sparse with a zero tail";
  file.chunks[2] = sha256_of_zeros(100);
  ASSERT_TRUE(builder.add(file.entry, file.chunks));
  const auto reader = Reader::open(pages, builder.finish().value());
  const std::vector<Entry> entries = reader->entries().value();
  EXPECT_EQ(entries[1].data_bytes, limits::chunk_size + 100);
  EXPECT_EQ(entries[2].data_bytes, limits::chunk_size);
  EXPECT_EQ(reader->root().data_bytes, 2 * limits::chunk_size + 100);
  EXPECT_EQ(reader->root().file_bytes, 2 * file.entry.size);
}

TEST(Builder, RefusesAnEntryThatFitsNoPageAndNamesIt) {
  Entry greedy = make_small_file("etc/greedy", 1);
  for (int i = 0; i < 40; ++i)
    greedy.xattrs.push_back({fmt::format("user.{:02}", i), Bytes(limits::xattr_value_length)});
  MemoryPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(add_to(builder, make_root()));
  ASSERT_TRUE(add_to(builder, make_directory("etc")));
  const Status added = add_to(builder, greedy);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::too_large);
  EXPECT_THAT(added.error().message(), HasSubstr("\"etc/greedy\""));
}

TEST(Builder, AcceptsEntriesThatFillAPageEach) {
  std::vector<Entry> entries = {make_root()};
  for (int file = 0; file < 3; ++file) {
    entries.push_back(make_small_file(std::to_string(file), 1));
    for (int i = 0; i < 31; ++i)
      entries.back().xattrs.push_back(
          {fmt::format("user.{:02}", i), Bytes(limits::xattr_value_length)});
  }
  MemoryPageStore pages;
  const auto reader = Reader::open(pages, build(pages, entries));
  EXPECT_EQ(reader->entries().value(), entries);
}

TEST(Builder, RefusesWrongOrderAndNames) {
  const auto refused = [](std::vector<Entry> entries) {
    MemoryPageStore pages;
    Builder builder(pages);
    for (std::size_t i = 0; i + 1 < entries.size(); ++i) EXPECT_TRUE(add_to(builder, entries[i]));
    const Status added = add_to(builder, entries.back());
    EXPECT_FALSE(added);
    EXPECT_EQ(added.error().code(), ErrorCode::invalid_argument);
    return added ? "" : added.error().message();
  };
  const Entry root = make_root();
  EXPECT_THAT(refused({make_directory("etc")}), HasSubstr("root directory"));
  EXPECT_THAT(refused({root, root}), HasSubstr("there already"));
  EXPECT_THAT(refused({root, make_directory("b"), make_directory("a")}), HasSubstr("path order"));
  EXPECT_THAT(refused({root, make_directory("a"), make_directory("a")}), HasSubstr("already"));
  EXPECT_THAT(refused({root, make_directory("a/b")}), HasSubstr("its directory is not there"));
  EXPECT_THAT(refused({root, make_small_file("a", 1), make_small_file("a/b", 1)}),
              HasSubstr("its directory is not there"));
  EXPECT_THAT(refused({root, make_directory("a"), make_directory("ab"), make_directory("a/b")}),
              HasSubstr("path order"));
  EXPECT_THAT(refused({root, make_small_file("..", 1)}), HasSubstr("\"..\""));
  EXPECT_THAT(refused({root, make_small_file("/a", 1)}), HasSubstr("absolute"));
}

TEST(Builder, RefusesChunksThatDoNotFitTheSize) {
  MemoryPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(builder.add(make_root(), {}));
  FileWithChunks file = make_file("file", 3 * limits::chunk_size);
  file.chunks.pop_back();
  const Status added = builder.add(file.entry, file.chunks);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::invalid_argument);
  EXPECT_THAT(added.error().message(), HasSubstr("2 chunks, but 393216 bytes have 3"));
}

TEST(Builder, RefusesFieldsThatTheTypeDoesNotHave) {
  const auto refused = [](Entry entry) {
    MemoryPageStore pages;
    Builder builder(pages);
    EXPECT_TRUE(builder.add(make_root(), {}));
    const Status added = builder.add(std::move(entry), {});
    return added ? "" : added.error().message();
  };
  Entry directory = make_directory("d");
  directory.size = 4096;
  EXPECT_THAT(refused(directory), HasSubstr("no file"));
  directory = make_directory("d");
  directory.target = "t";
  EXPECT_THAT(refused(directory), HasSubstr("no link"));
  directory = make_directory("d");
  directory.device_minor = 1;
  EXPECT_THAT(refused(directory), HasSubstr("no device"));
  Entry link = make_link(EntryType::hard_link, "l", "a");
  link.mode = 0644;
  EXPECT_THAT(refused(link), HasSubstr("metadata of its own"));
}

TEST(Builder, RefusesAFileOverTheLimit) {
  Entry file = make_entry(EntryType::file, "huge");
  file.size = std::uint64_t{1} << 62;
  MemoryPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(builder.add(make_root(), {}));
  EXPECT_EQ(builder.add(file, {}).error().code(), ErrorCode::too_large);
}

TEST(Builder, RefusesToFinishWithNothing) {
  MemoryPageStore pages;
  EXPECT_EQ(Builder(pages).finish().error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace icbd::manifest
