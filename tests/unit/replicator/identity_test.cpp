// A master that is not, or no longer, the one that was followed.

#include "arrival_fixture.h"

namespace icbd::replicator {
namespace {

using testing::HasSubstr;

class IdentityTest : public ArrivalTest {
 protected:
  void follow_version_one() {
    publish("head -c 1M /dev/urandom > disk");
    start();
    ASSERT_TRUE(let_arrive(1));
    replicator_.reset();
  }
};

TEST_F(IdentityTest, AnotherMasterIsRefusedAndWhatIsHereIsServed) {
  follow_version_one();
  const Uuid foreign = Uuid::random();
  publish("echo 2 > two");
  source_->rewrite_catalog = [foreign](source::CatalogSnapshot& snapshot) {
    snapshot.repository = foreign;
  };
  start();
  const SourceStatus status = replicator_->source_status();
  EXPECT_FALSE(status.reachable);
  EXPECT_THAT(status.error, HasSubstr(foreign.to_string()));
  EXPECT_THAT(status.error, HasSubstr("[master] repository"));
  EXPECT_EQ(replicator_->versions()->versions.size(), 1u) << "nothing is taken from it";
  EXPECT_TRUE(replicator_->opened(serial(1)));
}

TEST_F(IdentityTest, AnotherMasterIsFollowedIfThatIsSaid) {
  follow_version_one();
  const Uuid foreign = Uuid::random();
  publish("echo 2 > two");
  source_->rewrite_catalog = [foreign](source::CatalogSnapshot& snapshot) {
    snapshot.repository = foreign;
  };
  start({.expected_source = foreign});
  EXPECT_TRUE(replicator_->source_status().reachable);
  EXPECT_EQ(replicator_->versions()->versions.size(), 2u);
  replicator_.reset();
  start();
  EXPECT_TRUE(replicator_->source_status().reachable) << "it is remembered";
}

TEST_F(IdentityTest, AMasterThatIsNotTheExpectedOneIsRefusedFromTheBeginning) {
  publish("echo 1 > one");
  start({.expected_source = Uuid::random()});
  EXPECT_FALSE(replicator_->source_status().reachable);
  EXPECT_TRUE(replicator_->versions()->versions.empty());
}

TEST_F(IdentityTest, AMasterThatWasRestoredFromAnOldBackupIsNoticed) {
  follow_version_one();
  source_->rewrite_catalog = [](source::CatalogSnapshot& snapshot) {
    snapshot.change_number = 1;
    snapshot.versions.clear();
  };
  start();
  EXPECT_THAT(replicator_->source_status().warning, HasSubstr("old backup"));
  EXPECT_TRUE(replicator_->opened(serial(1))) << "what the master has lost stays here";
}

TEST_F(IdentityTest, ANumberThatComesBackWithOtherContentIsRefused) {
  follow_version_one();
  const Digest other = sha256(as_bytes("other content"));
  source_->rewrite_catalog = [other](source::CatalogSnapshot& snapshot) {
    for (catalog::VersionFacts& facts : snapshot.versions) {
      facts.uuid = Uuid::random();
      facts.manifest = other;
    }
  };
  start();
  const SourceStatus status = replicator_->source_status();
  ASSERT_EQ(status.conflicts.size(), 1u);
  EXPECT_THAT(status.conflicts.front(), HasSubstr("image@1"));
  EXPECT_THAT(status.conflicts.front(), HasSubstr(other.to_string()));
  EXPECT_NE(replicator_->find(serial(1))->facts.manifest, other);
  expect_landed_equal(1);
}

TEST_F(IdentityTest, ACatalogThatWasRebuiltIsTakenByItsContent) {
  follow_version_one();
  source_->rewrite_catalog = [](source::CatalogSnapshot& snapshot) {
    snapshot.epoch = Uuid{{std::byte{1}}};
    snapshot.change_number = 1;
  };
  start();
  const SourceStatus status = replicator_->source_status();
  EXPECT_TRUE(status.reachable);
  EXPECT_THAT(status.warning, HasSubstr("rebuilt"));
  EXPECT_TRUE(status.conflicts.empty());
}

TEST_F(IdentityTest, AManifestOfSomethingElseIsRefused) {
  publish("head -c 1M /dev/urandom > disk");
  publish("echo more > file");
  source_->rewrite_catalog = [](source::CatalogSnapshot& snapshot) {
    ASSERT_EQ(snapshot.versions.size(), 2u);
    snapshot.versions[1].manifest = snapshot.versions[0].manifest;
  };
  start();
  const auto version = open(2);
  ASSERT_FALSE(version.has_value());
  EXPECT_THAT(version.error().message(), HasSubstr("belongs to something else"));
}

}  // namespace
}  // namespace icbd::replicator
