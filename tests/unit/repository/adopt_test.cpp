// Snapshots of btrbk, snapper or by hand become versions where they are.
#include "icbd/repository/adopt.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "icbd/repository/fsck.h"

#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AdoptTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directory(path() / "backups");
    in_live("head -c 2M /dev/urandom > disk.raw; echo one > motd");
  }

  std::filesystem::path snapshot(const std::string& name) {
    const auto target = path() / "backups" / name;
    std::filesystem::create_directories(target.parent_path());
    const auto made = btrfs::create_snapshot(live(), target, true);
    EXPECT_TRUE(made) << made.error().message();
    return target;
  }
  Result<std::vector<AdoptionCandidate>> plan(std::vector<std::filesystem::path> paths,
                                              bool keep_order = false) {
    return plan_adoption(*repository_,
                         {.image = "disk", .paths = std::move(paths), .keep_order = keep_order});
  }
  Error refused(std::vector<std::filesystem::path> paths) {
    const auto planned = plan(std::move(paths));
    EXPECT_FALSE(planned);
    return planned ? Error(ErrorCode::internal, "planned") : planned.error();
  }
  Result<PublishReport> try_adopt(const AdoptionCandidate& candidate) {
    PublishProgress progress;
    return adopt(*repository_, adoption_of(candidate), progress);
  }
  static catalog::Adoption adoption_of(const AdoptionCandidate& candidate) {
    return {.id = 1,
            .job = 1,
            .image = "disk",
            .place = {.path = candidate.path.string(), .subvolume = candidate.subvolume},
            .uuid = candidate.uuid};
  }
  PublishReport adopt_one(const std::filesystem::path& path) {
    const auto planned = plan({path});
    EXPECT_TRUE(planned) << planned.error().message();
    auto report = try_adopt(planned->front());
    EXPECT_TRUE(report) << report.error().message();
    return report ? std::move(*report) : PublishReport{};
  }
  Result<FsckReport> check(bool repair = false) {
    repository_.reset();
    FsckProgress progress;
    return fsck({.directory = directory(), .role = Role::master, .repair = repair, .data = true},
                progress);
  }
};

TEST_F(AdoptTest, ASnapshotBecomesAVersionWhereItIs) {
  const auto path = snapshot("disk.20260101T0300");
  const Version version = adopt_one(path).version;
  EXPECT_EQ(version.facts.number, VersionNumber(1));
  EXPECT_EQ(version.place->path, path.string());
  EXPECT_FALSE(std::filesystem::exists(repository_->version_path("disk", VersionNumber(1))));
  reopen();
  EXPECT_THAT(repository_->recovery_findings(), IsEmpty());
  const auto root = repository_->open_version("disk", VersionNumber(1));
  ASSERT_TRUE(root) << root.error().message();
  struct stat adopted{}, original{};
  ASSERT_EQ(fstat(root->get(), &adopted), 0);
  ASSERT_EQ(stat(path.c_str(), &original), 0);
  EXPECT_EQ(adopted.st_dev, original.st_dev);
  EXPECT_EQ(entries_of(version).size(), 3u);  // the root and two files
}

TEST_F(AdoptTest, ItsManifestIsThatOfAPublication) {
  const auto path = snapshot("disk.20260101T0300");
  const auto adopted = adopt_one(path);
  EXPECT_EQ(adopted.version.facts.manifest, publish_live("other").version.facts.manifest);
}

TEST_F(AdoptTest, WhatHasNotChangedIsNotReadAgain) {
  adopt_one(snapshot("disk.20260101T0300"));
  in_live("printf x | dd of=disk.raw bs=1 seek=1000000 conv=notrunc status=none");
  const auto second = adopt_one(snapshot("disk.20260102T0300"));
  EXPECT_EQ(second.version.facts.parent, VersionNumber(1));
  EXPECT_LE(second.bytes_hashed, 2 * limits::chunk_size);
  EXPECT_GT(second.bytes_inherited, 1u << 20);
  in_live("echo three > motd");
  EXPECT_GT(publish_live("disk").bytes_inherited, 1u << 20);  // and publishing goes on from it
}

TEST_F(AdoptTest, TheyAreNumberedByAge) {
  const auto first = snapshot("b"), second = snapshot("a");
  const auto paths = [](const auto& candidates) {
    std::vector<std::filesystem::path> names;
    for (const auto& candidate : candidates) names.push_back(candidate.path.filename());
    return names;
  };
  EXPECT_THAT(paths(plan({second, first}).value()), ElementsAre("b", "a"));
  EXPECT_THAT(paths(plan({second, first}, true).value()), ElementsAre("a", "b"));
}

TEST_F(AdoptTest, SnappersFolderStandsForItsSnapshot) {
  const auto path = snapshot("17/snapshot");
  EXPECT_EQ(plan({path.parent_path()})->front().path, path);
}

TEST_F(AdoptTest, RefusesTwoOfOneIdentityAndNamesBoth) {
  const auto first = snapshot("first");
  const auto copy = path() / "backups" / "copy of first";
  {
    // As btrfs receive leaves it: a read-only snapshot of it has the same received UUID.
    const auto received = path() / "backups" / "received";
    ASSERT_TRUE(btrfs::create_snapshot(live(), received, false));
    const auto root = open_file(received, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_received(root->get(), Uuid::random(), 7));
    ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
    ASSERT_TRUE(btrfs::create_snapshot(received, copy, true));
    const Error error = refused({first, received, copy});
    EXPECT_EQ(error.code(), ErrorCode::already_exists);
    EXPECT_THAT(error.message(), HasSubstr(received.string()));
    EXPECT_THAT(error.message(), HasSubstr(copy.string()));
    adopt_one(received);
  }
  EXPECT_THAT(refused({copy}).message(), HasSubstr("as disk@1"));
  EXPECT_EQ(refused({first, first}).code(), ErrorCode::already_exists);
}

TEST_F(AdoptTest, RefusesWhatIsStillToBeAdopted) {
  const auto candidate = plan({snapshot("first")})->front();
  ASSERT_TRUE(repository_->catalog().add_adoptions({adoption_of(candidate)}));
  EXPECT_THAT(refused({candidate.path}).message(), HasSubstr("is being adopted already"));
}

TEST_F(AdoptTest, RefusesWhatCannotBeAVersion) {
  EXPECT_THAT(refused({live()}).message(), HasSubstr("it is writable"));
  EXPECT_THAT(refused({path() / "backups"}).message(), HasSubstr("not the root of a subvolume"));
  EXPECT_THAT(refused({"/proc"}).message(), HasSubstr("not on BTRFS"));
  EXPECT_THAT(refused({"relative"}).message(), HasSubstr("absolute"));
  EXPECT_EQ(refused({path() / "missing"}).code(), ErrorCode::not_found);
  EXPECT_EQ(refused({}).code(), ErrorCode::invalid_argument);
  publish_live();
  EXPECT_THAT(refused({directory() / "disk" / "1"}).message(), HasSubstr("inside the repository"));
}

TEST_F(AdoptTest, RefusesAnotherFilesystem) {
  const auto other = harness::LoopBtrfs::create();
  ASSERT_TRUE(other) << other.error().message();
  ASSERT_TRUE(btrfs::create_subvolume((*other)->path() / "there"));
  const auto root = open_file((*other)->path() / "there", O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
  EXPECT_THAT(refused({(*other)->path() / "there"}).message(), HasSubstr("another filesystem"));
}

TEST_F(AdoptTest, RefusesOneThatChangedAfterItWasPlanned) {
  const auto candidate = plan({snapshot("first")})->front();
  ASSERT_TRUE(btrfs::delete_subvolume(candidate.path));
  snapshot("first");
  const auto adopted = try_adopt(candidate);
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(repository_->catalog().versions().value(), IsEmpty());
}

TEST_F(AdoptTest, DoingItAgainGivesTheSameVersion) {
  const auto candidate = plan({snapshot("first")})->front();
  const auto first = try_adopt(candidate);
  const auto again = try_adopt(candidate);
  ASSERT_TRUE(first && again) << again.error().message();
  EXPECT_EQ(again->version.serial, first->version.serial);
  EXPECT_EQ(repository_->catalog().versions()->size(), 1u);
}

TEST_F(AdoptTest, OneThatIsGivenUpLeavesNothing) {
  const auto candidate = plan({snapshot("first")})->front();
  PublishProgress progress;
  progress.cancelled = true;
  const auto adopted = adopt(*repository_, adoption_of(candidate), progress);
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(std::filesystem::is_empty(directory() / ".icbd" / "manifests" / "disk"));
}

TEST_F(AdoptTest, OneThatWasRemovedIsReportedAndNotServed) {
  const auto path = snapshot("first");
  adopt_one(path);
  ASSERT_TRUE(btrfs::delete_subvolume(path));
  reopen();
  ASSERT_EQ(repository_->recovery_findings().size(), 1u);
  EXPECT_EQ(repository_->recovery_findings()[0].kind, FindingKind::version_missing);
  EXPECT_FALSE(repository_->open_version("disk", VersionNumber(1)));
  snapshot("first");  // another one of that name
  const auto other = repository_->open_version("disk", VersionNumber(1));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::corrupt);
}

TEST_F(AdoptTest, ALostCatalogIsRebuiltWithIt) {
  const Version adopted = adopt_one(snapshot("first")).version;
  const Version published = publish_live().version;
  repository_.reset();
  for (const char* suffix : {"", "-wal", "-shm"})
    std::filesystem::remove((directory() / ".icbd" / "catalog.sqlite3").string() + suffix);
  const auto repaired = check(true);
  ASSERT_TRUE(repaired) << repaired.error().message();
  EXPECT_TRUE(repaired->all_settled());
  EXPECT_THAT(check()->findings, IsEmpty());
  open();
  const Version again = repository_->catalog().version("disk", VersionNumber(1)).value();
  EXPECT_EQ(again.facts, adopted.facts);
  EXPECT_EQ(again.place, adopted.place);
  EXPECT_EQ(repository_->catalog().version("disk", VersionNumber(2))->facts, published.facts);
  EXPECT_TRUE(repository_->open_version("disk", VersionNumber(1)));
}

}  // namespace
}  // namespace icbd::repository
