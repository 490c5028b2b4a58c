#include "icbd/repository/repository.h"

#include <sys/stat.h>

#include <array>

#include "harness/temporary_directory.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::VersionState;

class LandingTest : public RepositoryTest {
 protected:
  // A version that arrives: staging subvolume with one file, manifest, pending map.
  catalog::Version make_arrival() {
    catalog::VersionFacts facts;
    facts.image = "disk";
    facts.number = VersionNumber(1);
    facts.uuid = Uuid::random();
    facts.send_transaction = 17;
    auto& catalog = repository_->catalog();
    const auto serial = catalog.add_version(facts, VersionState::arriving);
    EXPECT_TRUE(serial) << serial.error().message();
    const auto pages = repository_->pages("disk", facts.number, true);
    EXPECT_TRUE(pages) << pages.error().message();
    EXPECT_TRUE(btrfs::create_subvolume(staging()));
    EXPECT_TRUE(replace_file(staging() / "file", as_bytes("content")));
    EXPECT_TRUE(replace_file(pending_map(), as_bytes("pending")));
    EXPECT_TRUE(catalog.begin_arrival(*serial, std::nullopt));
    return *catalog.version(*serial);
  }
  std::filesystem::path staging() const {
    return repository_->staging_path("disk", VersionNumber(1));
  }
  std::filesystem::path complete() const {
    return repository_->version_path("disk", VersionNumber(1));
  }
  std::filesystem::path pending_map() const {
    return repository_->pending_map_path("disk", VersionNumber(1));
  }
  std::filesystem::path manifest() const {
    return repository_->manifest_path("disk", VersionNumber(1));
  }
};

TEST_F(RepositoryTest, IsPrivateToRoot) {
  struct stat status{};
  ASSERT_EQ(stat(directory().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(RepositoryTest, IsOpenInOneDaemonOnly) {
  const auto second = Repository::open(directory(), logger_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::busy);
  EXPECT_NE(second.error().message().find(directory().string()), std::string::npos);
}

TEST_F(RepositoryTest, KeepsItsIdentity) {
  const Uuid uuid = repository_->catalog().identity().uuid;
  reopen();
  EXPECT_EQ(repository_->catalog().identity().uuid, uuid);
}

TEST_F(RepositoryTest, MustExist) {
  const auto missing = Repository::open(path() / "missing", logger_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

TEST(RepositoryPlaceTest, MustBeOnBtrfs) {
  const auto refused = Repository::open("/proc", make_silent_logger());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unsupported);
  EXPECT_NE(refused.error().message().find("/proc"), std::string::npos);
  EXPECT_NE(refused.error().message().find("is on proc"), std::string::npos)
      << refused.error().message();
}

TEST_F(RepositoryTest, AVersionThatIsNotHereIsNotFound) {
  const auto missing = repository_->open_version("disk", VersionNumber(1));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  EXPECT_NE(missing.error().message().find("disk@1"), std::string::npos);
}

TEST_F(RepositoryTest, SharesOpenManifests) {
  const auto first = repository_->pages("disk", VersionNumber(1), true);
  ASSERT_TRUE(first) << first.error().message();
  const auto second = repository_->pages("disk", VersionNumber(1));
  ASSERT_TRUE(second);
  EXPECT_EQ(*first, *second);
  const auto other = repository_->pages("disk", VersionNumber(2));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::not_found);
}

TEST_F(LandingTest, MakesAnArrivalACompleteVersion) {
  const catalog::Version version = make_arrival();
  const auto reader = open_file(staging() / "file", O_RDONLY);
  ASSERT_TRUE(reader);
  const Status landed = repository_->commit_landing(version);
  ASSERT_TRUE(landed) << landed.error().message();

  EXPECT_EQ(repository_->catalog().version(version.serial)->state, VersionState::complete);
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  const auto root = repository_->open_version("disk", VersionNumber(1));
  ASSERT_TRUE(root) << root.error().message();
  const auto info = btrfs::subvolume_info(root->get());
  EXPECT_TRUE(info->read_only);
  EXPECT_EQ(info->identity(), version.facts.uuid);
  EXPECT_EQ(info->send_transaction, 17u);
  std::array<std::byte, 7> content;
  EXPECT_TRUE(read_exactly_at(reader->get(), content, 0)) << "an open handle goes on";
  EXPECT_EQ(as_text(content), "content");
}

// The first attempt ended after the subvolume was sealed, before the catalog was told.
TEST_F(LandingTest, CanBeTriedAgainAfterTheSubvolumeWasSealed) {
  const catalog::Version version = make_arrival();
  {
    const auto root = open_file(staging(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_received(root->get(), version.facts.uuid, 17));
    ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
  }
  const Status landed = repository_->commit_landing(version);
  ASSERT_TRUE(landed) << landed.error().message();
  EXPECT_TRUE(std::filesystem::exists(complete() / "file"));
}

TEST_F(LandingTest, NeverReplacesAVersion) {
  const catalog::Version version = make_arrival();
  ASSERT_TRUE(btrfs::create_subvolume(complete()));
  const Status landed = repository_->commit_landing(version);
  ASSERT_FALSE(landed);
  EXPECT_EQ(landed.error().code(), ErrorCode::already_exists);
  EXPECT_TRUE(std::filesystem::exists(staging() / "file"));
}

// The catalog has committed it; whoever hears of it may ask before the renaming.
TEST_F(LandingTest, ACompleteVersionIsThereBeforeItIsRenamed) {
  const catalog::Version version = make_arrival();
  EXPECT_FALSE(repository_->open_version("disk", VersionNumber(1))) << "it is arriving";
  {
    const auto sealed = open_file(staging(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_received(sealed->get(), version.facts.uuid, 17));
    ASSERT_TRUE(btrfs::set_read_only(sealed->get(), true));
  }
  ASSERT_TRUE(repository_->catalog().set_state(version.serial, VersionState::complete));
  const auto root = repository_->open_version("disk", VersionNumber(1));
  EXPECT_TRUE(root) << root.error().message();
}

TEST_F(LandingTest, ADiscardedArrivalLeavesNothing) {
  const catalog::Version version = make_arrival();
  const Status discarded = repository_->discard_arrival(version);
  ASSERT_TRUE(discarded) << discarded.error().message();
  EXPECT_EQ(repository_->catalog().version(version.serial)->state, VersionState::remote);
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
  EXPECT_FALSE(std::filesystem::exists(manifest()));
}

TEST_F(LandingTest, ANewArrivalAfterADiscardedOneBeginsWithoutPages) {
  const catalog::Version version = make_arrival();
  const auto old_pages = repository_->pages("disk", VersionNumber(1));
  ASSERT_TRUE(old_pages);
  const auto digest = (*old_pages)->add(as_bytes("a page"));
  ASSERT_TRUE(repository_->discard_arrival(version));
  const auto new_pages = repository_->pages("disk", VersionNumber(1), true);
  ASSERT_TRUE(new_pages);
  EXPECT_TRUE((*old_pages)->contains(*digest)) << "whoever holds the old ones keeps them";
  EXPECT_FALSE((*new_pages)->contains(*digest));
}

}  // namespace
}  // namespace icbd::repository
