// Pages as they were written when the format was settled. A test that fails here says that the
// digests of all contents have changed: then the format needs a new version.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "icbd/base/file.h"

#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

struct GoldenPage {
  const char* file;
  Bytes page;
};

Root some_root() {
  Root root;
  root.entries = 300;
  root.file_bytes = std::uint64_t{5} << 30;
  root.data_bytes = 1 << 20;
  root.pages = {{digest_of(1), 100}, {digest_of(2), 200}};
  return root;
}

std::vector<GoldenPage> golden_pages() {
  return {{"root/two-pages", encode_root(some_root())},
          {"metadata/root-directory-only", encode_metadata_page(std::vector{make_root()})},
          {"metadata/one-of-each", encode_metadata_page(one_of_each())},
          {"digests/one", encode_digest_page(chunks_from(0, 1))},
          {"digests/full", encode_digest_page(chunks_from(0, page_digests))}};
}

// With ICBD_WRITE_GOLDEN in the environment, writes the pages instead: after a change of format
// that was meant.
TEST(Golden, PagesAreEncodedAsEver) {
  const bool write = std::getenv("ICBD_WRITE_GOLDEN") != nullptr;
  for (const GoldenPage& golden : golden_pages()) {
    const auto file = std::filesystem::path(ICBD_GOLDEN_PAGES) / golden.file;
    if (write) {
      std::filesystem::create_directories(file.parent_path());
      ASSERT_TRUE(replace_file(file, golden.page));
    }
    EXPECT_EQ(read_file(file, limits::manifest_page).value(), golden.page) << file;
  }
}

TEST(Golden, ContentHasTheDigestItAlwaysHad) {
  MemoryPageStore pages;
  Builder builder(pages);
  ASSERT_TRUE(builder.add(make_root(), {}));
  for (unsigned number = 100; number < 900; ++number) {
    const FileWithChunks file = make_file(std::to_string(number), number * 100'000, number);
    ASSERT_TRUE(builder.add(file.entry, file.chunks));
  }
  EXPECT_EQ(builder.finish().value().to_string(),
            "641ae5e2f5597cd3960d43fcb01803df1567fcf70e0629bb96b253728ed058f1");
}

}  // namespace
}  // namespace icbd::manifest
