// What Repository::open() makes of every state that a stop, a person or a bad disk can leave.
#include <gmock/gmock.h>

#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::VersionState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr VersionNumber one(1);

class RecoveryTest : public RepositoryTest {
 protected:
  VersionSerial add_version(VersionState state) {
    catalog::VersionFacts facts;
    facts.image = "disk";
    facts.number = one;
    facts.uuid = uuid_;
    facts.manifest = sha256(as_bytes(root_page));
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
  void make_manifest() {
    const auto pages = manifest::FilePageStore::open(manifest(), true);
    ASSERT_TRUE(pages && (*pages)->add(as_bytes(root_page)) && (*pages)->sync());
  }
  // A complete version to which nothing has happened.
  VersionSerial make_complete() {
    const VersionSerial serial = add_version(VersionState::complete);
    make_sealed(complete());
    make_manifest();
    reopen();  // writes the facts
    return serial;
  }
  void make_pending_map() { ASSERT_TRUE(replace_file(pending_map(), as_bytes("map"))); }

  VersionState state_of(VersionSerial serial) {
    return repository_->catalog().version(serial)->state;
  }
  std::filesystem::path staging() const { return repository_->staging_path("disk", one); }
  std::filesystem::path complete() const { return repository_->version_path("disk", one); }
  std::filesystem::path publishing() const { return directory() / "disk" / ".publishing-1"; }
  std::filesystem::path manifest() const { return repository_->manifest_path("disk", one); }
  std::filesystem::path pending_map() const { return repository_->pending_map_path("disk", one); }
  std::filesystem::path facts() const { return manifest().string() + ".facts"; }

  // What the last open() found that matters to the test; facts are written in passing.
  std::vector<FindingKind> found() const {
    std::vector<FindingKind> kinds;
    for (const Finding& finding : repository_->recovery_findings())
      if (finding.kind != FindingKind::facts_missing) kinds.push_back(finding.kind);
    return kinds;
  }
  // The one finding that is left to do.
  Finding left() const {
    std::vector<Finding> findings;
    for (const Finding& finding : repository_->recovery_findings())
      if (!finding.settled) findings.push_back(finding);
    EXPECT_EQ(findings.size(), 1u) << log();
    return findings.empty() ? Finding{} : findings.front();
  }
  void expect_refused(std::string_view why) {
    const auto root = repository_->open_version("disk", one);
    ASSERT_FALSE(root);
    EXPECT_EQ(root.error().code(), ErrorCode::corrupt);
    EXPECT_THAT(root.error().message(), HasSubstr(why));
  }

  static constexpr std::string_view root_page = "the manifest's root";
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
  EXPECT_THAT(found(), ElementsAre(FindingKind::not_renamed, FindingKind::leftover_pending_map));
  EXPECT_THAT(log(), HasSubstr("disk@1: it was complete, but had its hidden name: renamed to"));
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
  EXPECT_THAT(found(), ElementsAre(FindingKind::unfinished, FindingKind::leftover_manifest));
  EXPECT_THAT(log(), HasSubstr(".publishing-1 was never finished: removed"));
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
  EXPECT_THAT(log(), HasSubstr("disk@1: its shape was not whole: made remote again"));
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
  ASSERT_TRUE(repository_->catalog().begin_arrival(serial, std::nullopt));
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
  ASSERT_TRUE(repository_->catalog().begin_arrival(serial, std::nullopt));
  make_manifest();
  make_pending_map();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_FALSE(std::filesystem::exists(manifest()));
  EXPECT_FALSE(std::filesystem::exists(pending_map()));
}

TEST_F(RecoveryTest, AnArrivalWhoseStagingIsNoSubvolumeBeginsAnew) {
  const VersionSerial serial = add_version(VersionState::arriving);
  ASSERT_TRUE(repository_->catalog().begin_arrival(serial, std::nullopt));
  std::filesystem::create_directory(staging());
  make_manifest();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_EQ(left().kind, FindingKind::unfinished);
  EXPECT_THAT(left().action, HasSubstr("could not be removed"));
}

TEST_F(RecoveryTest, AnArrivalWithoutItsManifestBeginsAnew) {
  const VersionSerial serial = add_version(VersionState::arriving);
  ASSERT_TRUE(repository_->catalog().begin_arrival(serial, std::nullopt));
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::remote);
  EXPECT_THAT(found(), ElementsAre(FindingKind::arrival_lost, FindingKind::unfinished));
}

TEST_F(RecoveryTest, ACompleteVersionNeverVanishesSilently) {
  const VersionSerial serial = add_version(VersionState::complete);
  make_manifest();
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::complete);
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  EXPECT_EQ(left().kind, FindingKind::version_missing);
  EXPECT_THAT(log(), HasSubstr("disk@1: it is complete in the catalog, but"));
  const auto root = repository_->open_version("disk", one);
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().code(), ErrorCode::not_found);
}

TEST_F(RecoveryTest, ACompleteVersionThatCanBeWrittenToIsNotServed) {
  const VersionSerial serial = make_complete();
  {
    const auto root = open_file(complete(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_read_only(root->get(), false));
  }
  reopen();
  EXPECT_EQ(state_of(serial), VersionState::complete);
  EXPECT_EQ(left().kind, FindingKind::writable);
  expect_refused("is writable");
}

TEST_F(RecoveryTest, AnotherSubvolumeUnderItsNameIsNotServed) {
  make_complete();
  ASSERT_TRUE(btrfs::delete_subvolume(complete()));
  ASSERT_TRUE(btrfs::create_snapshot(live(), complete(), true));
  reopen();
  EXPECT_EQ(left().kind, FindingKind::other_subvolume);
  EXPECT_TRUE(std::filesystem::exists(complete()));
  expect_refused("has the UUID");
}

TEST_F(RecoveryTest, ADirectoryUnderItsNameIsNotServed) {
  make_complete();
  ASSERT_TRUE(btrfs::delete_subvolume(complete()));
  std::filesystem::create_directory(complete());
  reopen();
  EXPECT_EQ(left().kind, FindingKind::not_subvolume);
  expect_refused("is no subvolume");
}

TEST_F(RecoveryTest, ASymlinkUnderItsNameIsNotFollowed) {
  make_complete();
  std::filesystem::rename(directory() / "disk", directory() / "moved");
  std::filesystem::create_directory(directory() / "disk");
  std::filesystem::create_directory_symlink(directory() / "moved" / "1", complete());
  reopen();
  expect_refused("is no subvolume");
}

TEST_F(RecoveryTest, AStrangerIsNotTakenForAVersion) {
  add_version(VersionState::complete);
  make_manifest();
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  reopen();
  EXPECT_TRUE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(complete()));
  EXPECT_EQ(left().kind, FindingKind::version_missing);
  EXPECT_THAT(left().what, HasSubstr(".arriving-1 has the UUID"));
}

TEST_F(RecoveryTest, OfTwoTheOneInPlaceIsKept) {
  make_complete();
  make_sealed(staging());
  make_sealed(publishing());
  reopen();
  EXPECT_THAT(found(), ElementsAre(FindingKind::unfinished, FindingKind::unfinished));
  EXPECT_FALSE(std::filesystem::exists(staging()));
  EXPECT_FALSE(std::filesystem::exists(publishing()));
  EXPECT_TRUE(repository_->open_version("disk", one));
}

TEST_F(RecoveryTest, OfTwoHiddenOnesTheRightOneIsRenamed) {
  add_version(VersionState::complete);
  make_manifest();
  make_sealed(publishing());
  ASSERT_TRUE(btrfs::create_subvolume(staging()));
  reopen();
  EXPECT_THAT(found(), ElementsAre(FindingKind::not_renamed, FindingKind::unfinished));
  EXPECT_TRUE(repository_->open_version("disk", one));
  EXPECT_FALSE(std::filesystem::exists(staging()));
}

TEST_F(RecoveryTest, TheOnlyCopyIsKeptThoughSomethingElseHasItsName) {
  add_version(VersionState::complete);
  make_manifest();
  make_sealed(staging());
  ASSERT_TRUE(btrfs::create_subvolume(complete()));
  reopen();
  EXPECT_TRUE(std::filesystem::exists(staging()));
  EXPECT_EQ(left().kind, FindingKind::other_subvolume);
}

TEST_F(RecoveryTest, ANumberThatTheCatalogDoesNotKnowIsLeftAloneWithItsManifest) {
  make_sealed(complete());
  make_manifest();
  reopen();
  EXPECT_TRUE(std::filesystem::exists(complete()));
  EXPECT_TRUE(std::filesystem::exists(manifest()));
  EXPECT_EQ(left().kind, FindingKind::unknown_version);
  EXPECT_THAT(log(), HasSubstr("is not in the catalog: it is left alone"));
}

TEST_F(RecoveryTest, ANumberInTheWayOfARemoteVersionIsLeftAlone) {
  add_version(VersionState::remote);
  make_sealed(complete());
  reopen();
  EXPECT_TRUE(std::filesystem::exists(complete()));
  EXPECT_EQ(left().kind, FindingKind::unknown_version);
  EXPECT_THAT(left().what, HasSubstr("the catalog calls the version remote"));
}

TEST_F(RecoveryTest, AMissingManifestIsReported) {
  make_complete();
  std::filesystem::remove(manifest());
  reopen();
  EXPECT_EQ(left().kind, FindingKind::manifest_missing);
  EXPECT_TRUE(repository_->open_version("disk", one));
}

TEST_F(RecoveryTest, AManifestWithAnotherRootIsReported) {
  make_complete();
  std::filesystem::remove(manifest());
  const auto pages = manifest::FilePageStore::open(manifest(), true);
  ASSERT_TRUE((*pages)->add(as_bytes("another root")));
  reopen();
  EXPECT_EQ(left().kind, FindingKind::manifest_damaged);
  EXPECT_THAT(left().what, HasSubstr("does not have the root"));
}

TEST_F(RecoveryTest, AFileThatIsNoManifestIsReported) {
  make_complete();
  ASSERT_TRUE(replace_file(manifest(), as_bytes("something else")));
  reopen();
  EXPECT_EQ(left().kind, FindingKind::manifest_damaged);
}

TEST_F(RecoveryTest, MissingOrWrongFactsAreWritten) {
  make_complete();
  const Bytes right = read_file(facts(), 10'000).value();
  const auto expect_written = [&] {
    reopen();
    ASSERT_EQ(repository_->recovery_findings().size(), 1u);
    EXPECT_EQ(repository_->recovery_findings()[0].kind, FindingKind::facts_missing);
    EXPECT_EQ(read_file(facts(), 10'000).value(), right);
  };
  std::filesystem::remove(facts());
  expect_written();
  ASSERT_TRUE(replace_file(facts(), as_bytes("{}")));
  expect_written();
}

TEST_F(RecoveryTest, FactsOfNoVersionAreRemoved) {
  ASSERT_TRUE(repository_->prepare_image("disk"));
  ASSERT_TRUE(replace_file(facts(), as_bytes("{}")));
  reopen();
  EXPECT_THAT(found(), ElementsAre(FindingKind::leftover_facts));
  EXPECT_FALSE(std::filesystem::exists(facts()));
}

TEST_F(RecoveryTest, DoingItAgainFindsNothing) {
  add_version(VersionState::complete);
  make_sealed(staging());
  make_manifest();
  reopen();
  EXPECT_FALSE(repository_->recovery_findings().empty());
  const std::string first = log();
  reopen();
  EXPECT_THAT(repository_->recovery_findings(), IsEmpty());
  EXPECT_EQ(log(), first);
}

TEST_F(RecoveryTest, VersionsWithoutACatalogAreNotTakenForLeftovers) {
  make_complete();
  repository_.reset();
  const auto catalog = directory() / ".icbd" / "catalog.sqlite3";
  for (const bool emptied : {true, false}) {
    std::filesystem::remove(catalog);
    if (emptied) {
      ASSERT_TRUE(replace_file(catalog, {}));
    }
    const auto opened = Repository::open(directory(), logger_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::corrupt);
    EXPECT_THAT(opened.error().message(), HasSubstr("icbd fsck --repair --repository"));
  }
  EXPECT_TRUE(std::filesystem::exists(directory() / ".icbd" / "manifests" / "disk" / "1"));
}

TEST_F(RecoveryTest, ADamagedCatalogNamesTheWayOut) {
  make_complete();
  repository_.reset();
  const auto catalog = directory() / ".icbd" / "catalog.sqlite3";
  ASSERT_TRUE(replace_file(catalog, as_bytes("no database at all")));
  const auto opened = Repository::open(directory(), logger_);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message(), HasSubstr("icbd fsck --repair --repository"));
  EXPECT_EQ(as_text(read_file(catalog, 1000).value()), "no database at all");
}

}  // namespace
}  // namespace icbd::repository
