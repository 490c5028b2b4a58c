// The offline check: what it finds, what it repairs, and what it leaves.
#include "icbd/repository/fsck.h"

#include <gmock/gmock.h>

#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::Version;
using catalog::VersionState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Two versions of an image, published by a master; then its daemon has ended.
class FsckTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    in_live("mkdir etc; echo root > etc/passwd; head -c 3M /dev/urandom > disk.raw");
    first_ = publish_live().version;
    in_live("printf x | dd of=disk.raw bs=1 seek=1000000 conv=notrunc status=none");
    second_ = publish_live().version;
    identity_ = repository_->catalog().identity();
    repository_.reset();
  }

  FsckReport check(FsckOptions options = {}) {
    options.directory = directory();
    FsckProgress progress;
    auto report = fsck(options, progress);
    EXPECT_TRUE(report) << report.error().message();
    return report ? std::move(*report) : FsckReport{};
  }
  FsckReport repair(Role role = Role::master, bool data = false) {
    return check({.directory = {}, .role = role, .repair = true, .data = data});
  }
  static std::vector<FindingKind> kinds(const FsckReport& report) {
    std::vector<FindingKind> kinds;
    for (const Finding& finding : report.findings) kinds.push_back(finding.kind);
    return kinds;
  }
  static std::string text(const FsckReport& report) {
    std::string text;
    for (const Finding& finding : report.findings) text += describe(finding) + "\n";
    return text;
  }

  // Everything that is in the repository, by name, size and time of the last change.
  std::string state_of_disk() const {
    return harness::shell_checked(
               fmt::format("cd '{}'; find . -printf '%p %s %T@ %C@ %m\\n' | sort; "
                           "find . -path './.icbd/*' -type f -exec sha256sum '{{}}' + | sort; "
                           "btrfs subvolume list -qRu .",
                           directory().string()))
        .value();
  }
  std::filesystem::path subvolume(int number) const {
    return directory() / "disk" / std::to_string(number);
  }
  std::filesystem::path own(const std::string& name) const { return directory() / ".icbd" / name; }
  std::filesystem::path manifest(int number) const {
    return own("manifests/disk/" + std::to_string(number));
  }
  std::filesystem::path catalog() const { return own("catalog.sqlite3"); }
  // A hidden name of the image with this beginning; empty if there is none.
  std::filesystem::path hidden(const std::string& prefix) const {
    for (const auto& entry : std::filesystem::directory_iterator(directory() / "disk"))
      if (entry.path().filename().string().starts_with(prefix)) return entry.path();
    return {};
  }

  // Changes a version as somebody could who did not know better.
  void in_version(int number, const std::string& script) {
    const auto done = harness::shell_checked(
        fmt::format("cd '{0}'\nbtrfs property set -f . ro false\n{1}\nbtrfs property set . ro true",
                    subvolume(number).string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }

  VersionState state(const Version& version) {
    open();
    const auto state = repository_->catalog().version(version.serial)->state;
    repository_.reset();
    return state;
  }
  // Everything is as it was published.
  void expect_whole() {
    const FsckReport report = check({.directory = {}, .data = true});
    EXPECT_THAT(report.findings, IsEmpty()) << text(report);
    EXPECT_EQ(report.versions, 2u);
    open();
    EXPECT_EQ(repository_->catalog().version("disk", VersionNumber(1))->facts, first_.facts);
    EXPECT_EQ(repository_->catalog().version("disk", VersionNumber(2))->facts, second_.facts);
    EXPECT_TRUE(repository_->open_version("disk", VersionNumber(1)));
    EXPECT_TRUE(repository_->open_version("disk", VersionNumber(2)));
    EXPECT_THAT(repository_->recovery_findings(), IsEmpty());
  }

  Version first_, second_;
  catalog::NodeIdentity identity_;
};

TEST_F(FsckTest, FindsNothingWhereNothingIsWrong) {
  const std::string before = state_of_disk();
  expect_whole();
  repository_.reset();
  EXPECT_EQ(check().role, Role::master);
  EXPECT_THAT(repair().findings, IsEmpty());
  EXPECT_NE(before, "");
}

TEST_F(FsckTest, ChangesNothingUnlessAsked) {
  in_version(1, "echo more >> etc/passwd");
  std::filesystem::remove(manifest(2));
  ASSERT_TRUE(replace_file(own("arriving/disk/7"), as_bytes("map")));
  ASSERT_TRUE(btrfs::create_subvolume(directory() / "disk" / ".publishing-3"));
  for (const bool damaged : {false, true}) {
    if (damaged) {
      ASSERT_TRUE(replace_file(catalog(), as_bytes("no database")));
    }
    const std::string before = state_of_disk();
    EXPECT_FALSE(check({.directory = {}, .role = Role::cache, .data = true}).all_settled());
    EXPECT_EQ(state_of_disk(), before);
  }
}

TEST_F(FsckTest, NeedsTheRepositoryForItself) {
  open();
  FsckProgress progress;
  const auto refused = fsck({.directory = directory()}, progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::busy);
  EXPECT_THAT(refused.error().message(), HasSubstr("stop its daemon first"));
}

TEST_F(FsckTest, RefusesADirectoryThatIsNone) {
  FsckProgress progress;
  EXPECT_EQ(fsck({.directory = live()}, progress).error().code(), ErrorCode::not_found);
  EXPECT_EQ(fsck({.directory = path() / "missing"}, progress).error().code(), ErrorCode::not_found);
  EXPECT_EQ(fsck({.directory = "/proc"}, progress).error().code(), ErrorCode::unsupported);
}

TEST_F(FsckTest, BuildsAMissingManifestAgain) {
  std::filesystem::remove(manifest(2));
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::manifest_missing));
  const FsckReport report = repair();
  EXPECT_THAT(kinds(report), ElementsAre(FindingKind::manifest_missing));
  EXPECT_TRUE(report.all_settled());
  expect_whole();
}

TEST_F(FsckTest, FindsADamagedByteAnywhereInAManifest) {
  const Bytes whole = read_file(manifest(1), 1 << 20).value();
  for (const std::size_t part : {0, 1, 2, 3, 4, 5, 6}) {
    Bytes damaged = whole;
    damaged[part * (whole.size() - 1) / 6] ^= std::byte{0x10};
    ASSERT_TRUE(replace_file(manifest(1), damaged));
    EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::manifest_damaged)) << part;
    EXPECT_TRUE(repair().all_settled());
  }
  expect_whole();
}

TEST_F(FsckTest, LeavesAChangedVersionOfAMasterAndSaysWhatDiffers) {
  in_version(1, "echo more >> etc/passwd");
  const FsckReport report = repair();
  EXPECT_THAT(kinds(report), ElementsAre(FindingKind::metadata_damaged));
  EXPECT_THAT(text(report), HasSubstr("\"etc/passwd\" has another size"));
  EXPECT_THAT(text(report), HasSubstr("there may be no other copy"));
  EXPECT_FALSE(report.all_settled());
  EXPECT_EQ(state(first_), VersionState::complete);
  EXPECT_TRUE(std::filesystem::exists(subvolume(1)));
}

TEST_F(FsckTest, FindsChangedBytesOnlyIfItReadsThem) {
  in_version(1,
             "touch -r disk.raw ../stamp; printf y | dd of=disk.raw bs=1 seek=2000000 conv=notrunc "
             "status=none; touch -r ../stamp disk.raw; rm ../stamp");
  EXPECT_THAT(check().findings, IsEmpty());
  const FsckReport report = check({.directory = {}, .data = true});
  EXPECT_THAT(kinds(report), ElementsAre(FindingKind::data_damaged));
  // The chunk of 128 KiB that byte 2,000,000 is in.
  EXPECT_THAT(text(report), HasSubstr("1 places differ: \"disk.raw\" at 1966080"));
}

TEST_F(FsckTest, PutsAChangedVersionOfACacheAside) {
  in_version(1, "rm etc/passwd");
  const FsckReport report = repair(Role::cache);
  EXPECT_THAT(kinds(report), ElementsAre(FindingKind::metadata_damaged));
  EXPECT_TRUE(report.all_settled()) << text(report);
  EXPECT_THAT(text(report), HasSubstr("\"etc/passwd\" is missing"));
  EXPECT_EQ(state(first_), VersionState::remote);
  EXPECT_EQ(state(second_), VersionState::complete);
  EXPECT_FALSE(std::filesystem::exists(subvolume(1)));
  EXPECT_FALSE(std::filesystem::exists(manifest(1)));
  EXPECT_TRUE(std::filesystem::exists(hidden(".quarantined-1-") / "disk.raw"));
  EXPECT_EQ(check().role, Role::cache);  // by its remote version
  EXPECT_THAT(check().findings, IsEmpty());
}

TEST_F(FsckTest, AMissingVersionOfACacheIsFetchedAgain) {
  ASSERT_TRUE(btrfs::delete_subvolume(subvolume(1)));
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::version_missing));
  EXPECT_TRUE(repair(Role::cache).all_settled());
  EXPECT_EQ(state(first_), VersionState::remote);
  EXPECT_THAT(repair(Role::cache).findings, IsEmpty());
}

TEST_F(FsckTest, AMissingVersionOfAMasterIsReportedAgainAndAgain) {
  ASSERT_TRUE(btrfs::delete_subvolume(subvolume(1)));
  for (int run = 0; run < 2; ++run) {
    EXPECT_THAT(kinds(repair()), ElementsAre(FindingKind::version_missing));
    EXPECT_EQ(state(first_), VersionState::complete);
  }
}

TEST_F(FsckTest, SealsAWritableVersionWhoseContentIsRight) {
  const auto root = open_file(subvolume(1), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(btrfs::set_read_only(root->get(), false));
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::writable));
  EXPECT_TRUE(repair().all_settled());
  expect_whole();
}

TEST_F(FsckTest, DoesNotSealAWritableVersionWhoseContentIsNot) {
  const auto root = open_file(subvolume(1), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(btrfs::set_read_only(root->get(), false));
  ASSERT_TRUE(harness::shell_checked(
      fmt::format("cd '{}'; touch -r disk.raw ../stamp; printf y | dd of=disk.raw bs=1 seek=9 "
                  "conv=notrunc status=none; touch -r ../stamp disk.raw; rm ../stamp",
                  subvolume(1).string())));
  EXPECT_THAT(kinds(repair()), ElementsAre(FindingKind::data_damaged));
  EXPECT_FALSE(btrfs::subvolume_info(root->get())->read_only);
}

TEST_F(FsckTest, FinishesWhatAStopHasLeft) {
  std::filesystem::rename(subvolume(2), directory() / "disk" / ".publishing-2");
  ASSERT_TRUE(btrfs::create_subvolume(directory() / "disk" / ".publishing-3"));
  EXPECT_THAT(kinds(check()),
              UnorderedElementsAre(FindingKind::not_renamed, FindingKind::unfinished));
  EXPECT_TRUE(repair().all_settled());
  expect_whole();
}

class FsckCatalogTest : public FsckTest {
 protected:
  void expect_rebuilt() {
    open();
    EXPECT_EQ(repository_->catalog().identity().uuid, identity_.uuid);
    EXPECT_NE(repository_->catalog().identity().epoch, identity_.epoch);
    EXPECT_EQ(repository_->catalog().next_number("disk").value(), VersionNumber(3));
    repository_.reset();
    expect_whole();
  }
  std::filesystem::path damaged_file() const {
    for (const auto& entry : std::filesystem::directory_iterator(own("")))
      if (entry.path().filename().string().starts_with("catalog.sqlite3.damaged-"))
        return entry.path();
    return {};
  }
  void remove_catalog() {
    for (const char* suffix : {"", "-wal", "-shm"})
      std::filesystem::remove(catalog().string() + suffix);
  }
};

TEST_F(FsckCatalogTest, IsRebuiltWhenItIsLost) {
  remove_catalog();
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::catalog_missing));
  EXPECT_FALSE(std::filesystem::exists(catalog()));
  const FsckReport report = repair();
  EXPECT_TRUE(report.all_settled()) << text(report);
  EXPECT_THAT(text(report), HasSubstr("rebuilt with 2 versions"));
  expect_rebuilt();
}

TEST_F(FsckCatalogTest, IsRebuiltWhenItIsDamagedAndTheOldFileIsKept) {
  Bytes content = read_file(catalog(), 1 << 20).value();
  std::fill(content.begin() + 4096, content.begin() + 8192, std::byte{0xa5});
  ASSERT_TRUE(replace_file(catalog(), content));
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::catalog_damaged));
  EXPECT_TRUE(repair().all_settled());
  EXPECT_EQ(read_file(damaged_file(), 1 << 20).value(), content);
  expect_rebuilt();
}

TEST_F(FsckCatalogTest, IsRebuiltWithAVersionThatStillHadItsHiddenName) {
  remove_catalog();
  std::filesystem::rename(subvolume(2), directory() / "disk" / ".publishing-2");
  EXPECT_TRUE(repair().all_settled());
  expect_rebuilt();
}

TEST_F(FsckCatalogTest, DoesNotBelieveAHiddenVersionWhoseContentIsWrong) {
  remove_catalog();
  in_version(2, "echo more >> etc/passwd");
  std::filesystem::rename(subvolume(2), directory() / "disk" / ".publishing-2");
  const FsckReport report = repair();
  EXPECT_THAT(text(report), HasSubstr("it was not renamed"));
  EXPECT_EQ(report.versions, 1u);
}

TEST_F(FsckCatalogTest, SaysWhichVersionsItCannotTakeBackAndKeepsTheirNumbers) {
  remove_catalog();
  std::filesystem::remove(manifest(2).string() + ".facts");
  ASSERT_TRUE(btrfs::create_snapshot(live(), subvolume(9), true));
  const FsckReport report = repair();
  EXPECT_FALSE(report.all_settled());
  EXPECT_THAT(text(report), HasSubstr("disk@2: " + subvolume(2).string() +
                                      " is not in the catalog: it is left alone"));
  EXPECT_TRUE(std::filesystem::exists(subvolume(2)));
  EXPECT_EQ(report.versions, 1u);
  open();
  EXPECT_EQ(repository_->catalog().next_number("disk").value(), VersionNumber(10));
}

TEST_F(FsckCatalogTest, TakesNoSubvolumeForAVersionThatIsAnother) {
  remove_catalog();
  ASSERT_TRUE(btrfs::delete_subvolume(subvolume(2)));
  ASSERT_TRUE(btrfs::create_snapshot(live(), subvolume(2), true));
  EXPECT_EQ(repair().versions, 1u);
}

TEST_F(FsckCatalogTest, FromABackupGetsTheNewerVersionsBack) {
  std::filesystem::copy_file(catalog(), path() / "backup");
  in_live("echo third > etc/passwd");
  open();
  const Version third = publish_live().version;
  repository_.reset();
  remove_catalog();
  std::filesystem::copy_file(path() / "backup", catalog());
  // The daemon starts with it, and leaves the version that it does not know whole.
  open();
  EXPECT_EQ(repository_->recovery_findings().size(), 1u);
  repository_.reset();
  EXPECT_THAT(kinds(check()), ElementsAre(FindingKind::unknown_version));
  EXPECT_THAT(kinds(repair()), ElementsAre(FindingKind::unknown_version));
  EXPECT_THAT(check({.directory = {}, .data = true}).findings, IsEmpty());
  open();
  EXPECT_EQ(repository_->catalog().version("disk", VersionNumber(3))->facts, third.facts);
}

TEST_F(FsckCatalogTest, OfAnotherApplicationOrANewerReleaseIsNotTouched) {
  const auto sql = [&](const std::string& statement) {
    ASSERT_TRUE(harness::run_checked({"python3", "-c",
                                      "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
                                      "c.execute(sys.argv[2]); c.commit()",
                                      catalog().string(), statement}));
  };
  sql("PRAGMA user_version = 99");
  FsckProgress progress;
  const auto refused = fsck({.directory = directory(), .repair = true}, progress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unsupported);
  EXPECT_EQ(damaged_file(), "");
}

}  // namespace
}  // namespace icbd::repository
