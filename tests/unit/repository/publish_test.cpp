#include "icbd/repository/publish.h"

#include "harness/tree.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using catalog::VersionState;

class PublishTest : public RepositoryTest {
 protected:
  // What a refused publication says; it must leave nothing behind.
  Error refused(const std::string& image, const std::filesystem::path& source,
                const std::string& message = "") {
    const auto report = try_publish(image, source, message);
    EXPECT_FALSE(report);
    EXPECT_EQ(names_in(directory()), std::vector<std::string>{".icbd"});
    EXPECT_EQ(names_in(directory() / ".icbd/manifests"), std::vector<std::string>{});
    EXPECT_EQ(repository_->catalog().versions()->size(), 0u);
    EXPECT_EQ(repository_->catalog().images()->size(), 0u);
    return report ? Error(ErrorCode::internal, "it was published") : report.error();
  }

  static std::vector<std::string> names_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      names.push_back(entry.path().filename().string());
    return names;
  }

  static void expect_says(const Error& error, ErrorCode code, std::string_view words) {
    EXPECT_EQ(error.code(), code);
    EXPECT_NE(error.message().find(words), std::string::npos) << error.message();
  }
};

TEST_F(PublishTest, MakesTheNextVersion) {
  in_live("echo one > file");
  const PublishReport first = publish_live();
  in_live("echo two > file");
  const PublishReport second = publish_live();
  EXPECT_EQ(first.version.facts.number, VersionNumber(1));
  EXPECT_EQ(first.version.facts.parent, std::nullopt);
  EXPECT_EQ(second.version.facts.number, VersionNumber(2));
  EXPECT_EQ(second.version.facts.parent, VersionNumber(1));
  EXPECT_EQ(as_text(*read_file(directory() / "disk/1/file", 100)), "one\n");
  EXPECT_EQ(as_text(*read_file(directory() / "disk/2/file", 100)), "two\n");
}

TEST_F(PublishTest, TheVersionIsTheSubvolumeAsItWas) {
  in_live(
      "mkdir d; echo x > d/file; ln d/file hard; ln -s target soft; mkfifo fifo\n"
      "mknod null c 1 3; setfattr -n user.a -v b d/file; chmod 4755 d/file; chown 1:2 d\n"
      "truncate -s 32M sparse; touch -d '2001-02-03 04:05:06.789' d; chmod 1777 .");
  const PublishReport report = publish_live();
  EXPECT_EQ(harness::diff_trees(live(), directory() / "disk/1"), "");
}

TEST_F(PublishTest, RecordsWhatTheVersionIs) {
  in_live("head -c 200000 /dev/urandom > file; truncate -s 1M hole; mkdir d; chmod 0710 .");
  const auto report = try_publish("disk", live(), "first");
  ASSERT_TRUE(report) << report.error().message();
  const auto& facts = report->version.facts;
  EXPECT_EQ(facts.image, "disk");
  EXPECT_EQ(facts.message, "first");
  EXPECT_EQ(facts.entries, 4u);
  EXPECT_EQ(facts.file_bytes, 200000u + 1024 * 1024);
  EXPECT_EQ(facts.data_bytes, 200000u);
  EXPECT_EQ(facts.root.mode, 0710u);
  EXPECT_GT(facts.published.seconds, 0);
  EXPECT_EQ(report->version.state, VersionState::complete);
  EXPECT_EQ(report->bytes_hashed, 200000u) << "holes are not read";

  const auto root = repository_->open_version("disk", VersionNumber(1));
  ASSERT_TRUE(root) << root.error().message();
  const auto info = btrfs::subvolume_info(root->get());
  EXPECT_TRUE(info->read_only);
  EXPECT_EQ(facts.uuid, info->uuid);
  EXPECT_EQ(facts.send_transaction, info->generation);
}

TEST_F(PublishTest, CountsItsProgress) {
  in_live("head -c 300000 /dev/urandom > file");
  PublishProgress progress;
  const auto report =
      publish(*repository_, {.image = "disk", .path = live(), .message = ""}, progress);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(progress.bytes_total.load(), 300000u);
  EXPECT_EQ(progress.bytes_done.load(), 300000u);
}

// A snapshot of a received read-only subvolume would keep its received UUID, and two versions
// would share one identity.
TEST_F(PublishTest, AVersionOfAReceivedSubvolumeHasAUuidOfItsOwn) {
  const Uuid received = Uuid::random();
  {
    const auto root = open_file(live(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(btrfs::set_received(root->get(), received, 1));
    ASSERT_TRUE(btrfs::set_read_only(root->get(), true));
  }
  const PublishReport first = publish_live();
  const PublishReport second = publish_live();
  EXPECT_NE(first.version.facts.uuid, received);
  EXPECT_NE(first.version.facts.uuid, second.version.facts.uuid);
}

TEST_F(PublishTest, SaysThatANestedSubvolumeIsLeftOut) {
  in_live("mkdir d");
  ASSERT_TRUE(btrfs::create_subvolume(live() / "d/nested"));
  in_live("echo x > d/nested/file");
  const PublishReport report = publish_live();
  EXPECT_EQ(report.warnings,
            std::vector<std::string>{"\"d/nested\" is a nested subvolume and is not part of the "
                                     "version"});
  EXPECT_EQ(report.version.facts.entries, 2u) << "the root and d";
}

TEST_F(PublishTest, VersionsOutliveTheDaemon) {
  in_live("echo one > file");
  const PublishReport report = publish_live();
  reopen();
  const auto version = repository_->catalog().version("disk", VersionNumber(1));
  ASSERT_TRUE(version);
  EXPECT_EQ(version->facts, report.version.facts);
  EXPECT_EQ(entries_of(*version).size(), 2u);
}

TEST_F(PublishTest, IsBusyWhileAnotherPublishes) {
  const auto publishing = repository_->try_lock_publishing();
  ASSERT_TRUE(publishing);
  expect_says(refused("disk", live()), ErrorCode::busy, "being published");
}

TEST_F(PublishTest, RefusesARelativePath) {
  expect_says(refused("disk", "live"), ErrorCode::invalid_argument, "absolute");
}

TEST_F(PublishTest, RefusesAMissingPath) {
  expect_says(refused("disk", path() / "missing"), ErrorCode::not_found, "missing");
}

TEST_F(PublishTest, RefusesAnEmptyDirectory) {
  in_live("mkdir d");
  expect_says(refused("disk", live() / "d"), ErrorCode::invalid_argument, "it is empty");
}

TEST_F(PublishTest, RefusesWhatIsNeitherDirectoryNorFile) {
  in_live("mkfifo fifo");
  expect_says(refused("disk", live() / "fifo"), ErrorCode::invalid_argument,
              "neither a directory nor a regular file");
}

TEST_F(PublishTest, RefusesTheSubvolumeThatHasTheRepository) {
  expect_says(refused("disk", path()), ErrorCode::invalid_argument, "is part of this subvolume");
}

TEST_F(PublishTest, RefusesWhatIsInsideTheRepository) {
  publish_live();
  const auto report = try_publish("other", directory() / "disk/1");
  ASSERT_FALSE(report);
  expect_says(report.error(), ErrorCode::invalid_argument, "inside the repository");
}

TEST_F(PublishTest, RefusesBadNames) {
  for (const char* name : {"", ".hidden", "-option", "a/b", "..", "latest", "a b"})
    EXPECT_EQ(refused(name, live()).code(), ErrorCode::invalid_argument) << name;
}

TEST_F(PublishTest, RefusesALongMessage) {
  expect_says(refused("disk", live(), std::string(limits::message_length + 1, 'x')),
              ErrorCode::too_large, "message");
}

// Found only after the snapshot was made: it has to be removed again.
TEST_F(PublishTest, AFailureHalfwayLeavesNothing) {
  in_live("truncate -s 65T huge");
  expect_says(refused("disk", live()), ErrorCode::too_large, "\"huge\"");
  in_live("rm huge");
  EXPECT_EQ(publish_live().version.facts.number, VersionNumber(1));
}

TEST_F(PublishTest, AFailureHalfwayLeavesTheVersionsBefore) {
  publish_live();
  in_live("truncate -s 65T huge");
  EXPECT_FALSE(try_publish("disk", live()));
  EXPECT_EQ(names_in(directory() / "disk"), std::vector<std::string>{"1"});
  EXPECT_EQ(names_in(directory() / ".icbd/manifests/disk"),
            (std::vector<std::string>{"1", "1.facts"}));
}

}  // namespace
}  // namespace icbd::repository
