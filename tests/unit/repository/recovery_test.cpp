// What Repository::open() makes of every state that a stop can leave.
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::VersionState;

constexpr VersionNumber one(1);

class RecoveryTest : public RepositoryTest {
 protected:
  VersionSerial add_version(VersionState state) {
    catalog::VersionFacts facts;
    facts.image = "disk";
    facts.number = one;
    facts.uuid = uuid_;
    const auto serial = repository_->catalog().add_version(facts, state);
    EXPECT_TRUE(serial) << serial.error().message();
    EXPECT_TRUE(repository_->prepare_image("disk"));
    return *serial;
  }
  // A subvolume with the version's identity.
  void make_sealed(const std::filesystem::path& subvolume) {
    EXPECT_TRUE(repository_->prepare_image("disk"));
    ASSERT_TRUE(btrfs::create_subvolume(subvolume));
    const auto root = open_file(subvolume, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_received(root->get(), uuid_, 1));
    ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
  }
  void make_manifest() { ASSERT_TRUE(replace_file(manifest(), as_bytes("icbdman1"))); }
  void make_pending_map() { ASSERT_TRUE(replace_file(pending_map(), as_bytes("map"))); }

  VersionState state_of(VersionSerial serial) {
    return repository_->catalog().version(serial)->state;
  }
  std::filesystem::path staging() const { return repository_->staging_path("disk", one); }
  std::filesystem::path complete() const { return repository_->version_path("disk", one); }
  std::filesystem::path publishing() const { return directory() / "disk" / ".publishing-1"; }
  std::filesystem::path manifest() const { return repository_->manifest_path("disk", one); }
  std::filesystem::path pending_map() const { return repository_->pending_map_path("disk", one); }
  bool logged(std::string_view words) const { return log().find(words) != std::string::npos; }

  Uuid uuid_ = Uuid::random();
};

TEST_F(RecoveryTest, ACommittedLandingIsRenamed) {
  const VersionSerial serial = add_version(VersionState::complete);
  make_sealed(staging());
  make_manifest();
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::complete);
  EXPECT_TRUE(repository_->open_version("disk", one));
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
  EXPECT_TRUE(logged("disk@1 was complete: renamed"));
}

TEST_F(RecoveryTest, ACommittedPublicationIsRenamed) {
  add_version(VersionState::complete);
  make_sealed(publishing());
  make_manifest();
  reopen();
  EXPECT_TRUE(repository_->open_version("disk", one));
  EXPECT_FALSE(std::filesystem::exists(publishing()));
  EXPECT_TRUE(std::filesystem::exists(manifest()));
}

TEST_F(RecoveryTest, APublicationThatWasNotCommittedIsRemoved) {
  make_sealed(publishing());
  make_manifest();
  reopen();
  EXPECT_FALSE(std::filesystem::exists(publishing()));
  EXPECT_FALSE(std::filesystem::exists(manifest()));
  EXPECT_TRUE(logged("removed the unfinished subvolume"));
  EXPECT_TRUE(logged("removed the manifest"));
}

TEST_F(RecoveryTest, AnArrivalWithoutACommittedShapeIsRemoved) {
  const VersionSerial serial = add_version(VersionState::arriving);
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  make_manifest();
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(manifest()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
  EXPECT_TRUE(logged("disk@1 arrives anew: its shape was not whole"));
}

TEST_F(RecoveryTest, WhatIsLeftOfARemoteVersionIsRemoved) {
  const VersionSerial serial = add_version(VersionState::remote);
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
}

TEST_F(RecoveryTest, AnArrivalGoesOn) {
  const VersionSerial serial = add_version(VersionState::arriving);
  ASSERT_TRUE(repository_->catalog().set_shaped(serial, std::nullopt));
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  make_manifest();
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::arriving);
  EXPECT_TRUE(std::filesystem::exists(staging()));
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  EXPECT_TRUE(std::filesystem::exists(pending_map()));
  EXPECT_EQ(log(), "");
}

TEST_F(RecoveryTest, AnArrivalWhoseStagingIsGoneBeginsAnew) {
  const VersionSerial serial = add_version(VersionState::arriving);
  ASSERT_TRUE(repository_->catalog().set_shaped(serial, std::nullopt));
  make_manifest();
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_FALSE(std::filesystem::exists(manifest()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
}

TEST_F(RecoveryTest, ACompleteVersionNeverVanishesSilently) {
  const VersionSerial serial = add_version(VersionState::complete);
  make_manifest();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::complete);
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  EXPECT_TRUE(logged("disk@1 is complete in the catalog, but"));
  const auto root = repository_->open_version("disk", one);
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().code(), ErrorCode::not_found);
}

TEST_F(RecoveryTest, AStrangerIsNotTakenForAVersion) {
  add_version(VersionState::complete);
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  reopen();
  EXPECT_TRUE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(complete()));
  EXPECT_TRUE(logged("could not be put in its place"));
}

TEST_F(RecoveryTest, ANumberThatTheCatalogDoesNotKnowIsLeftAlone) {
  make_sealed(complete());
  reopen();
  EXPECT_TRUE(std::filesystem::exists(complete()));
  EXPECT_TRUE(logged("is not in the catalog; it is left alone"));
}

TEST_F(RecoveryTest, DoingItAgainChangesNothing) {
  add_version(VersionState::complete);
  make_sealed(staging());
  make_manifest();
  reopen();
  const std::string first = log();
  reopen();
  EXPECT_EQ(log(), first);
}

}  // namespace
}  // namespace icbd::repository
