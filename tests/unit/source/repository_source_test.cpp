#include "icbd/source/repository_source.h"

#include "source_contract.h"

namespace icbd::source {
namespace {

struct RepositorySourceFactory {
  Result<std::unique_ptr<Source>> make(repository::Repository& repository) {
    return std::make_unique<RepositorySource>(repository);
  }
};

}  // namespace

INSTANTIATE_TYPED_TEST_SUITE_P(Repository, SourceContract, RepositorySourceFactory);

namespace {

class RepositorySourceTest : public SourceContract<RepositorySourceFactory> {};

// More than are kept open, and each a second time.
TEST_F(RepositorySourceTest, ServesMoreVersionsThanItKeepsOpen) {
  std::vector<catalog::VersionFacts> versions = {first_, second_};
  while (versions.size() < 12) {
    in_live(fmt::format("echo {} > d/file", versions.size()));
    versions.push_back(publish());
  }
  for (int round = 0; round < 2; ++round)
    for (const auto& facts : versions) {
      const FileIndex file = index_of(facts.manifest, "d/file");
      EXPECT_TRUE(ask(facts.manifest, {file, {0, 2}}));
    }
}

TEST_F(RepositorySourceTest, ServesMoreFilesThanItKeepsOpen) {
  in_live("for i in $(seq 100 199); do echo $i > f$i; done");
  const auto facts = publish();
  const std::uint32_t first = index_of(facts.manifest, "f100").value();
  std::vector<Extent> extents;
  for (std::uint32_t i = 0; i < 200; ++i)
    extents.push_back({FileIndex(first + i * 7 % 100), {0, 4}});
  const Status read = source_->extents(
      facts.manifest, extents, Priority::bulk, [&](const ExtentData& data) -> Status {
        EXPECT_EQ(as_text(data.data), fmt::format("{}\n", 100 + data.extent.file.value() - first));
        return {};
      });
  EXPECT_TRUE(read) << read.error().message();
}

TEST_F(RepositorySourceTest, ABorderWithinACompressedExtentIsWhereThatBegins) {
  in_live("seq 1 600000 > text; sync text");
  const auto facts = publish();
  const FileIndex file = index_of(facts.manifest, "text");
  constexpr std::uint64_t within = 1024 * 1024 + 5000;
  const auto border = source_->extent_border(facts.manifest, file, within);
  ASSERT_TRUE(border) << border.error().message();
  EXPECT_LT(*border, within);
  EXPECT_EQ(source_->extent_border(facts.manifest, file, *border).value_or(0), *border);
  const FileIndex random = index_of(facts.manifest, "disk.raw");
  EXPECT_EQ(source_->extent_border(facts.manifest, random, within).value_or(0), within);
}

// What a kernel, a limit on locked memory or a sandbox may take away of io_uring, one by one.
TEST_F(RepositorySourceTest, ServesTheSameBytesWithoutPartsOfTheRing) {
  const FileIndex file = index_of(first_.manifest, "disk.raw");
  const Bytes expected = disk_on_disk(1);
  const std::vector<Extent> extents = disk_extents(file);
  for (const uring::QueueOptions& reads :
       std::initializer_list<uring::QueueOptions>{{},
                                                  {.ring = false},
                                                  {.deferred_completions = false},
                                                  {.registered_buffers = false},
                                                  {.capacity = 1}}) {
    RepositorySource source(*repository_, reads);
    SCOPED_TRACE(source.reads_with());
    ASSERT_TRUE(harness::shell_checked("echo 3 > /proc/sys/vm/drop_caches"));
    Bytes bytes(expected.size());
    const Status read = source.extents(
        first_.manifest, extents, Priority::bulk, [&](const ExtentData& data) -> Status {
          std::ranges::copy(data.data,
                            bytes.begin() + static_cast<std::ptrdiff_t>(data.extent.range.offset));
          return {};
        });
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_TRUE(bytes == expected);
  }
}

// Data that is zero, though no hole, is not sent either.
TEST_F(RepositorySourceTest, ZerosAreSaidNotSent) {
  in_live("head -c 300000 /dev/zero > zeros");
  const auto facts = publish();
  const std::vector<Extent> extents = {{index_of(facts.manifest, "zeros"), {0, 1000}}};
  const Status read = source_->extents(facts.manifest, extents, Priority::bulk,
                                       [&](const ExtentData& data) -> Status {
                                         EXPECT_TRUE(data.all_zero);
                                         EXPECT_TRUE(data.data.empty());
                                         return {};
                                       });
  EXPECT_TRUE(read) << read.error().message();
}

}  // namespace
}  // namespace icbd::source
