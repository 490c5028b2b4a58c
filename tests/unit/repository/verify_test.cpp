// Reading a version again, and dropping one.
#include "icbd/repository/verify.h"

#include <gmock/gmock.h>

#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VerifyTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    in_live("mkdir d; head -c 300000 /dev/urandom > d/disk; echo short > note");
    const auto published = try_publish("image", live());
    ASSERT_TRUE(published) << published.error().message();
    version_ = published->version;
  }
  // In the version itself, past its read-only flag; its UUID stays.
  void damage(const std::string& script) {
    const std::string path = repository_->version_path("image", VersionNumber(1));
    const auto done =
        harness::shell_checked(fmt::format("btrfs property set -ts '{0}' ro false; cd '{0}'; {1}; "
                                           "btrfs property set -ts '{0}' ro true",
                                           path, script));
    ASSERT_TRUE(done) << done.error().message();
  }
  Result<VerifyReport> verify() {
    VerifyProgress progress;
    auto report = verify_version(*repository_, version_, progress);
    EXPECT_EQ(progress.bytes_done, progress.bytes_total);
    return report;
  }
  std::string problems() {
    const auto report = verify();
    if (!report) return report.error().message();
    std::string text;
    for (const std::string& problem : report->problems) text += problem + "\n";
    return text;
  }

  catalog::Version version_;
};

TEST_F(VerifyTest, WhatWasPublishedIsRight) {
  const auto report = verify();
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_EQ(report->bytes, 300'006u);
}

TEST_F(VerifyTest, AChangedByteIsFound) {
  damage("printf x | dd of=d/disk bs=1 seek=200000 conv=notrunc status=none");
  EXPECT_THAT(problems(), HasSubstr("d/disk"));
}

TEST_F(VerifyTest, AMissingFileAndAChangedModeAreFound) {
  damage("rm note; chmod 600 d/disk");
  EXPECT_THAT(problems(), HasSubstr("\"d/disk\" has another mode, \"note\" is missing"));
}

TEST_F(VerifyTest, ADamagedManifestIsFound) {
  const auto done = harness::shell_checked(
      fmt::format("printf x | dd of='{}' bs=1 seek=100 conv=notrunc status=none",
                  repository_->manifest_path("image", VersionNumber(1)).string()));
  ASSERT_TRUE(done);
  EXPECT_NE(problems(), "");
}

TEST_F(VerifyTest, WhatIsNotCompleteIsRefused) {
  version_.state = catalog::VersionState::arriving;
  VerifyProgress progress;
  EXPECT_EQ(verify_version(*repository_, version_, progress).error().code(),
            ErrorCode::invalid_argument);
}

TEST_F(VerifyTest, ItCanBeGivenUp) {
  VerifyProgress progress;
  progress.cancelled = true;
  EXPECT_EQ(verify_version(*repository_, version_, progress).error().code(), ErrorCode::cancelled);
}

TEST_F(VerifyTest, ADroppedVersionLeavesNothing) {
  const VersionNumber number(1);
  ASSERT_TRUE(repository_->drop_version(version_));
  for (const auto& path :
       {repository_->version_path("image", number), repository_->staging_path("image", number),
        repository_->manifest_path("image", number)})
    EXPECT_FALSE(std::filesystem::exists(path)) << path;
  EXPECT_EQ(repository_->catalog().version(version_.serial)->state, catalog::VersionState::remote);
  reopen();
  EXPECT_THAT(repository_->recovery_findings(), IsEmpty());
}

// As if the power had gone between the two steps of a drop.
TEST_F(VerifyTest, ADropThatWasCutShortIsUndoneOrFinished) {
  const auto named = repository_->version_path("image", VersionNumber(1));
  const auto hidden = repository_->staging_path("image", VersionNumber(1));
  std::filesystem::rename(named, hidden);
  reopen();
  EXPECT_TRUE(std::filesystem::exists(named)) << "the catalog still calls it complete";
  std::filesystem::rename(named, hidden);
  ASSERT_TRUE(repository_->catalog().set_state(version_.serial, catalog::VersionState::remote));
  reopen();
  EXPECT_FALSE(std::filesystem::exists(named));
  EXPECT_FALSE(std::filesystem::exists(hidden)) << "and now it does not";
}

}  // namespace
}  // namespace icbd::repository
