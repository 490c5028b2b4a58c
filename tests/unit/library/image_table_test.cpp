#include "icbd/library/image_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <set>

#include "harness/temporary_directory.h"

namespace icbd::library {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

catalog::Version version(const std::string& image, std::uint32_t number) {
  catalog::Version version;
  version.serial = VersionSerial(number);
  version.state = catalog::VersionState::complete;
  version.generation = 3;
  version.facts.image = image;
  version.facts.number = VersionNumber(number);
  version.facts.published = {1'700'000'000 + number, 0};
  version.facts.root = {.mode = 0750, .uid = 7, .gid = 8, .modified = {5, 6}};
  return version;
}

// "latest -> 3"
std::vector<std::string> links_of(const fs::ImageEntry& image) {
  std::vector<std::string> links;
  for (const fs::LinkEntry& link : image.links)
    links.push_back(link.name + " -> " + std::to_string(link.target.value()));
  return links;
}

TEST(ImageTable, AVersionLooksAsItsRootDirectory) {
  const fs::VersionEntry entry = describe(version("win11", 2));
  EXPECT_EQ(entry.number, VersionNumber(2));
  EXPECT_EQ(entry.state, "complete");
  EXPECT_EQ(entry.generation, 3u);
  EXPECT_EQ(entry.root.st_mode, static_cast<mode_t>(S_IFDIR | 0750));
  EXPECT_EQ(entry.root.st_uid, 7u);
  EXPECT_EQ(entry.root.st_mtim.tv_sec, 5);
}

TEST(ImageTable, ImagesHaveTheirVersionsAndLinks) {
  ImageTable table;
  const std::vector<std::string> names = {"debian", "empty", "win11"};
  const std::vector<catalog::Version> versions = {version("debian", 1), version("win11", 1),
                                                  version("win11", 3)};
  const std::vector<catalog::Tag> tags = {{"debian", "old", VersionNumber(9)},
                                          {"win11", "current", VersionNumber(1)},
                                          {"win11", "stable", VersionNumber(3)}};
  const auto images = table.make(names, versions, tags);
  ASSERT_EQ(images.size(), 3u);
  EXPECT_THAT(links_of(images[0]), ElementsAre("latest -> 1", "current -> 1"))
      << "a tag of what is not here is not shown";
  EXPECT_THAT(images[1].versions, IsEmpty());
  EXPECT_THAT(links_of(images[1]), IsEmpty());
  EXPECT_THAT(links_of(images[2]), ElementsAre("latest -> 3", "current -> 1", "stable -> 3"));
  EXPECT_EQ(images[2].versions.size(), 2u);
  EXPECT_EQ(images[2].modified.seconds, 1'700'000'003);
}

TEST(ImageTable, AnIdIsNeverAnotherNames) {
  ImageTable table;
  const auto first = table.make(std::vector<std::string>{"b"}, {}, {});
  const auto then = table.make(std::vector<std::string>{"a", "b"}, {}, {});
  EXPECT_EQ(then[1].id, first[0].id);
  EXPECT_NE(then[0].id, first[0].id);
  const auto gone = table.make(std::vector<std::string>{"a"}, {}, {});
  const auto later = table.make(std::vector<std::string>{"a", "c"}, {}, {});
  EXPECT_EQ(gone[0].id, later[0].id);
  EXPECT_NE(later[1].id, first[0].id);
}

TEST(ImageTable, ALinkKeepsItsIdWhenItMoves) {
  ImageTable table;
  const std::vector<std::string> names = {"win11"};
  std::vector<catalog::Version> versions = {version("win11", 1)};
  const auto before = table.make(names, versions, {});
  versions.push_back(version("win11", 2));
  const auto after = table.make(names, versions, {});
  EXPECT_EQ(before[0].links[0].id, after[0].links[0].id);
  EXPECT_NE(before[0].links[0].target, after[0].links[0].target);
}

// ---- with a catalog --------------------------------------------------------------------------

class DurableImageTable : public ::testing::Test {
 protected:
  std::vector<std::uint32_t> ids(const std::vector<std::string>& names) {
    const std::vector<catalog::Version> versions = {version("win11", 1)};
    std::vector<std::uint32_t> ids;
    for (const fs::ImageEntry& image : table_->make(names, versions, {})) {
      ids.push_back(image.id);
      for (const fs::LinkEntry& link : image.links) ids.push_back(link.id);
    }
    return ids;
  }
  void start_next_process() {
    table_.reset();
    catalog_.reset();
    catalog_ = catalog::Catalog::open(file_).value();
    table_.emplace(*catalog_);
  }
  // From now on the catalog gives no numbers, as on a full disk.
  void exhaust_catalog() {
    table_.reset();
    catalog_.reset();
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file_.c_str(), &database), SQLITE_OK);
    const char* const last = "INSERT INTO view_names (id, name) VALUES (2147483647, 'last')";
    EXPECT_EQ(sqlite3_exec(database, last, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(database);
    start_next_process();
  }

  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::filesystem::path file_ = directory_.path() / "catalog.sqlite3";
  std::unique_ptr<catalog::Catalog> catalog_ = catalog::Catalog::open(file_).value();
  std::optional<ImageTable> table_{std::in_place, *catalog_};
};

TEST_F(DurableImageTable, TheNextProcessGivesTheSameIds) {
  const auto before = ids({"debian", "win11"});
  ASSERT_EQ(before.size(), 4u) << "two images, latest and current";
  start_next_process();
  EXPECT_THAT(ids({"win11"}), ElementsAre(before[1], before[2], before[3]))
      << "whoever is asked for first";
  EXPECT_THAT(ids({"arch", "debian", "win11"}),
              ElementsAre(::testing::Gt(before[3]), before[0], before[1], before[2], before[3]));
}

TEST_F(DurableImageTable, IfTheCatalogCannotBeWrittenIdsHoldForThisProcess) {
  exhaust_catalog();
  const auto own = ids({"debian", "win11"});
  for (const std::uint32_t id : own)
    EXPECT_GE(id, std::uint32_t{1} << 31) << "the catalog never gives such";
  EXPECT_EQ(std::set(own.begin(), own.end()).size(), 4u);
  EXPECT_EQ(ids({"debian", "win11"}), own);
}

}  // namespace
}  // namespace icbd::library
