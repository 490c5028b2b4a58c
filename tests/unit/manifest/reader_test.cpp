#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A store that lacks pages until they are fetched from another.
class PartialPageStore final : public PageStore {
 public:
  explicit PartialPageStore(const PageStore& all) : all_(all) {}

  Result<Bytes> find(const Digest& digest) const override {
    ++finds_;
    return here_.find(digest);
  }
  bool contains(const Digest& digest) const override { return here_.contains(digest); }
  Result<Digest> add(ByteView page) override { return here_.add(page); }
  void fetch(const Digest& digest) { ASSERT_TRUE(here_.add(all_.find(digest).value())); }
  int take_finds() { return std::exchange(finds_, 0); }

 private:
  const PageStore& all_;
  MemoryPageStore here_;
  mutable int finds_ = 0;
};

// Puts pages of `parts` below a root that counts what is in them.
Digest build_pages(PageStore& pages, const std::vector<std::vector<Entry>>& parts) {
  Root root;
  for (const auto& part : parts) {
    const auto entries = static_cast<std::uint32_t>(part.size());
    root.pages.push_back({pages.add(encode_metadata_page(part)).value(), entries});
    root.entries += entries;
    for (const Entry& entry : part) {
      root.file_bytes += entry.size;
      root.data_bytes += entry.data_bytes;
    }
  }
  return pages.add(encode_root(root)).value();
}

std::string why_corrupt(const std::vector<std::vector<Entry>>& parts) {
  MemoryPageStore pages;
  const auto entries = Reader::open(pages, build_pages(pages, parts))->entries();
  if (entries) return "nothing";
  EXPECT_EQ(entries.error().code(), ErrorCode::corrupt);
  return entries.error().message();
}

TEST(Reader, NeedsTheRoot) {
  MemoryPageStore pages;
  EXPECT_EQ(Reader::open(pages, digest_of(1)).error().code(), ErrorCode::not_found);
}

TEST(Reader, SaysWhichMetadataPagesAreMissing) {
  MemoryPageStore all;
  const Digest root = build_pages(all, {{make_root()}, {make_directory("a")}});
  PartialPageStore some(all);
  some.fetch(root);
  const auto reader = Reader::open(some, root);
  ASSERT_TRUE(reader);
  const auto& pages = reader->root().pages;
  EXPECT_THAT(reader->missing_metadata(), ElementsAre(pages[0].digest, pages[1].digest));
  EXPECT_EQ(reader->entries().error().code(), ErrorCode::not_found);
  some.fetch(pages[0].digest);
  EXPECT_THAT(reader->missing_metadata(), ElementsAre(pages[1].digest));
  EXPECT_EQ(reader->entries().error().code(), ErrorCode::not_found);
  some.fetch(pages[1].digest);
  EXPECT_THAT(reader->missing_metadata(), IsEmpty());
  EXPECT_EQ(reader->entries()->size(), 2u);
}

TEST(Reader, ChecksOrderAcrossPages) {
  const Entry root = make_root(), a = make_directory("a"), b = make_directory("b");
  const Entry in_a = make_small_file("a/file", 1);
  EXPECT_EQ(why_corrupt({{root, a}, {in_a, b}}), "nothing");
  EXPECT_THAT(why_corrupt({{root, b}, {a}}), HasSubstr("not in path order"));
  EXPECT_THAT(why_corrupt({{root, a}, {a}}), HasSubstr("there already"));
  EXPECT_THAT(why_corrupt({{root, a}, {root, b}}), HasSubstr("not in path order"));
  EXPECT_THAT(why_corrupt({{a}, {b}}), HasSubstr("must be the root directory"));
  EXPECT_THAT(why_corrupt({{root}, {in_a}}), HasSubstr("its directory is not there"));
}

TEST(Reader, ChecksThatHardLinksNameWhatCanBeLinked) {
  const Entry root = make_root(), a = make_directory("a"), file = make_small_file("f", 1);
  const auto link = [](const char* path, const char* target) {
    return make_link(EntryType::hard_link, path, target);
  };
  EXPECT_EQ(why_corrupt({{root, a, file, link("l", "f"), link("m", "f")}}), "nothing");
  EXPECT_THAT(why_corrupt({{root, a, file, link("l", "b")}}), HasSubstr("is not there"));
  EXPECT_THAT(why_corrupt({{root, a, file, link("l", "a")}}), HasSubstr("can be linked"));
  EXPECT_THAT(why_corrupt({{root, a, file, link("l", "f"), link("m", "l")}}),
              HasSubstr("can be linked"));
}

TEST(Reader, ChecksThatTheRootCountsRight) {
  MemoryPageStore pages;
  Root root;
  root.entries = 2;
  root.pages = {{pages.add(encode_metadata_page(std::vector{make_root()})).value(), 2}};
  EXPECT_THAT(
      Reader::open(pages, pages.add(encode_root(root)).value())->entries().error().message(),
      HasSubstr("has 1 entries, but the root says 2"));
  root.entries = root.pages[0].entries = 1;
  root.file_bytes = 5;
  EXPECT_THAT(
      Reader::open(pages, pages.add(encode_root(root)).value())->entries().error().message(),
      HasSubstr("the root counts 5 bytes"));
}

struct DigestLevels {
  const char* name;
  std::uint32_t chunks;
  int pages_on_the_way;
};

class ReaderDigests : public ::testing::TestWithParam<DigestLevels> {
 protected:
  void SetUp() override {
    // The last chunk is short.
    file_ = make_file("disk.raw", GetParam().chunks * std::uint64_t{limits::chunk_size} - 1);
    Builder builder(all_);
    ASSERT_TRUE(builder.add(make_root(), {}));
    ASSERT_TRUE(builder.add(file_.entry, file_.chunks));
    root_ = builder.finish().value();
    file_.entry = Reader::open(all_, root_)->entries().value().back();
    some_.fetch(root_);
  }

  MemoryPageStore all_;
  PartialPageStore some_{all_};
  FileWithChunks file_;
  Digest root_;
};

TEST_P(ReaderDigests, FindsEveryChunk) {
  const auto reader = Reader::open(all_, root_);
  for (std::uint32_t chunk = 0; chunk < GetParam().chunks; chunk += 1 + GetParam().chunks / 1000)
    ASSERT_EQ(reader->chunk_digest(file_.entry, ChunkIndex(chunk)).value(), file_.chunks[chunk]);
}

TEST_P(ReaderDigests, FindsRunsOfChunks) {
  const auto reader = Reader::open(all_, root_);
  const std::uint32_t chunks = GetParam().chunks;
  EXPECT_EQ(reader->chunk_digests(file_.entry, ChunkIndex(0), chunks).value(), file_.chunks);
  EXPECT_THAT(reader->chunk_digests(file_.entry, ChunkIndex(chunks), 0).value(), IsEmpty());
  for (std::uint32_t first = 0; first < chunks; first += 1 + chunks / 50) {
    const std::uint32_t count = std::min<std::uint32_t>(70, chunks - first);
    const std::vector<Digest> expected(file_.chunks.begin() + first,
                                       file_.chunks.begin() + first + count);
    ASSERT_EQ(reader->chunk_digests(file_.entry, ChunkIndex(first), count).value(), expected);
  }
}

TEST_P(ReaderDigests, RefusesChunksBehindTheEnd) {
  const auto reader = Reader::open(all_, root_);
  const std::uint32_t chunks = GetParam().chunks;
  EXPECT_EQ(reader->chunk_digest(file_.entry, ChunkIndex(chunks)).error().code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(reader->chunk_digests(file_.entry, ChunkIndex(1), chunks).error().code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(reader->chunk_digests(file_.entry, ChunkIndex(UINT32_MAX), 2).error().code(),
            ErrorCode::invalid_argument);
}

TEST_P(ReaderDigests, NamesThePageToFetchNext) {
  const auto reader = Reader::open(some_, root_);
  const ChunkIndex last(GetParam().chunks - 1);
  int fetched = 0;
  Digest missing;
  auto digest = reader->chunk_digest(file_.entry, last, &missing);
  while (!digest) {
    ASSERT_EQ(digest.error().code(), ErrorCode::not_found);
    some_.fetch(missing);
    ++fetched;
    digest = reader->chunk_digest(file_.entry, last, &missing);
  }
  EXPECT_EQ(*digest, file_.chunks.back());
  EXPECT_EQ(fetched, GetParam().pages_on_the_way);
}

TEST_P(ReaderDigests, NamesMissingPagesLevelByLevel) {
  const auto reader = Reader::open(some_, root_);
  int rounds = 0;
  for (auto missing = reader->missing_digest_pages(file_.entry).value(); !missing.empty();
       missing = reader->missing_digest_pages(file_.entry).value()) {
    for (const Digest& digest : missing) some_.fetch(digest);
    ++rounds;
  }
  EXPECT_EQ(rounds, GetParam().pages_on_the_way);
  EXPECT_EQ(reader->chunk_digests(file_.entry, ChunkIndex(0), GetParam().chunks).value(),
            file_.chunks);
}

TEST_P(ReaderDigests, ReadsEachPageOfARunOnce) {
  const auto reader = Reader::open(some_, root_);
  for (auto missing = reader->missing_digest_pages(file_.entry).value(); !missing.empty();
       missing = reader->missing_digest_pages(file_.entry).value())
    for (const Digest& digest : missing) some_.fetch(digest);
  some_.take_finds();
  ASSERT_TRUE(reader->chunk_digests(file_.entry, ChunkIndex(0),
                                    std::min<std::uint32_t>(64, GetParam().chunks)));
  EXPECT_EQ(some_.take_finds(), GetParam().pages_on_the_way);
}

INSTANTIATE_TEST_SUITE_P(Levels, ReaderDigests,
                         ::testing::Values(DigestLevels{"inline_one", 1, 0},
                                           DigestLevels{"inline_full", 16, 0},
                                           DigestLevels{"one_page", 17, 1},
                                           DigestLevels{"one_level_full", 16 * 64, 1},
                                           DigestLevels{"two_levels", 16 * 64 + 1, 2},
                                           DigestLevels{"three_levels", 16 * 64 * 64 + 1, 3}),
                         [](const auto& levels) { return levels.param.name; });

TEST(Reader, FindsNoChunksInAnEmptyFile) {
  MemoryPageStore pages;
  const Entry empty = make_small_file("empty", 0);
  const auto reader = Reader::open(pages, build(pages, {make_root(), empty}));
  EXPECT_THAT(reader->chunk_digests(empty, ChunkIndex(0), 0).value(), IsEmpty());
  EXPECT_THAT(reader->missing_digest_pages(empty).value(), IsEmpty());
}

TEST(Reader, AsksForAPageOfZerosOnce) {
  MemoryPageStore all;
  PartialPageStore some(all);
  Entry disk = make_entry(EntryType::file, "disk.raw");
  disk.size = std::uint64_t{4} << 30;
  Builder builder(all);
  ASSERT_TRUE(builder.add(make_root(), {}));
  const std::vector<Digest> zeros(disk.chunk_count(), sha256_of_zeros(limits::chunk_size));
  ASSERT_TRUE(builder.add(disk, zeros));
  const Digest root = builder.finish().value();
  disk = Reader::open(all, root)->entries().value().back();
  some.fetch(root);
  const auto reader = Reader::open(some, root);
  for (int level = 0; level < 2; ++level) {
    const auto missing = reader->missing_digest_pages(disk).value();
    ASSERT_EQ(missing.size(), 1u);
    some.fetch(missing.front());
  }
  EXPECT_THAT(reader->missing_digest_pages(disk).value(), IsEmpty());
}

// A page that is genuine, but stands where another number of digests belongs.
TEST(Reader, RefusesADigestPageOfTheWrongLength) {
  MemoryPageStore pages;
  Entry file = make_entry(EntryType::file, "file");
  file.size = 17 * limits::chunk_size;
  file.digests = {pages.add(encode_digest_page(chunks_from(0, 16))).value()};
  const auto reader = Reader::open(pages, build_pages(pages, {{make_root(), file}}));
  EXPECT_EQ(reader->chunk_digest(file, ChunkIndex(0)).error().code(), ErrorCode::corrupt);
}

TEST(Reader, ReadsAHundredThousandEntries) {
  std::vector<Entry> entries = {make_root()};
  for (unsigned directory = 0; directory < 100; ++directory) {
    entries.push_back(make_directory(fmt::format("usr-{:02}", directory)));
    for (unsigned file = 0; file < 1000; ++file)
      entries.push_back(make_small_file(
          fmt::format("usr-{:02}/some-file-{:04}.txt", directory, file), 1 + file, file));
  }
  MemoryPageStore pages;
  const auto reader = Reader::open(pages, build(pages, entries));
  const auto begin = std::chrono::steady_clock::now();
  const auto read = reader->entries();
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, entries);
  RecordProperty("milliseconds", fmt::format("{:.1f}", elapsed.count()));
}

}  // namespace
}  // namespace icbd::manifest
