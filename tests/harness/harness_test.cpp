// The harness itself: what it says must be so, else no other test means anything.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <optional>

#include "icbd/base/file.h"

#include "harness/loop_btrfs.h"
#include "harness/process.h"
#include "harness/random_tree.h"
#include "harness/run.h"
#include "harness/temporary_directory.h"
#include "harness/tree.h"

namespace icbd::harness {
namespace {

using namespace std::chrono_literals;

class HarnessTest : public testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::create();
    ASSERT_TRUE(folder) << folder.error().message();
    folder_.emplace(std::move(*folder));
  }
  std::filesystem::path path() const { return folder_->path(); }

  std::unique_ptr<Process> start(const std::string& script) {
    auto process =
        Process::start({"sh", "-c", script}, {.log_directory = path(), .name = "program"});
    EXPECT_TRUE(process) << process.error().message();
    return std::move(*process);
  }

  // Two copies of a small tree, one of which the script changes.
  std::string difference_after(const std::string& change) {
    const auto done = shell_checked("cd " + path().string() + R"(
      mkdir a; cd a; mkdir d; echo x > d/file; ln d/file link; ln -s target soft; mkfifo fifo
      setfattr -n user.a -v 1 d/file
      touch -d @1000000000 d/file d . ; touch -h -d @1000000000 soft fifo; cd ..
      cp -a a b; cd b; )" + change);
    EXPECT_TRUE(done) << done.error().message();
    return diff_trees(path() / "a", path() / "b");
  }

  std::optional<TemporaryDirectory> folder_;
};

TEST_F(HarnessTest, RunGivesExitCodeAndOutput) {
  const auto result = run({"sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->exit_code, 3);
  EXPECT_EQ(result->output, "out\nerr\n");
  EXPECT_EQ(run({"sh", "-c", "kill -KILL $$"})->exit_code, 128 + SIGKILL);
  EXPECT_FALSE(run({"no-such-program-anywhere"}));
  EXPECT_FALSE(shell_checked("false; true")) << "a script ends with its first failure";
}

TEST_F(HarnessTest, TemporaryDirectoriesGoWithTheirContent) {
  const auto folder = path();
  ASSERT_TRUE(shell_checked("mkdir " + (folder / "d").string() + "; touch " +
                            (folder / "d/file").string()));
  folder_.reset();
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST_F(HarnessTest, AProcessIsWaitedFor) {
  const auto process = start("echo starting; echo ready at 1; exec sleep 1000");
  const auto line = process->wait_for_line("ready", 10s);
  ASSERT_TRUE(line) << line.error().message();
  EXPECT_EQ(*line, "ready at 1");
  EXPECT_TRUE(process->running());
  const auto exit_code = process->stop(10s);
  ASSERT_TRUE(exit_code) << exit_code.error().message();
  EXPECT_EQ(*exit_code, 128 + SIGTERM);
  EXPECT_FALSE(process->running());
}

TEST_F(HarnessTest, AProcessThatEndsBeforeItsLineSaysWhy) {
  const auto line = start("echo broken >&2; exit 7")->wait_for_line("ready", 10s);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code(), ErrorCode::unavailable);
  EXPECT_NE(line.error().message().find("ended with 7: broken"), std::string::npos);
}

TEST_F(HarnessTest, WaitingHasADeadline) {
  const auto process = start("exec sleep 1000");
  EXPECT_EQ(process->wait_for_line("ready", 20ms).error().code(), ErrorCode::timed_out);
  EXPECT_EQ(process->wait_for_exit(20ms).error().code(), ErrorCode::timed_out);
}

TEST_F(HarnessTest, AProcessDoesNotOutliveItsTest) {
  auto process = start("exec sleep 1000");
  const pid_t id = process->id();
  process.reset();
  EXPECT_EQ(kill(id, 0), -1);
}

TEST_F(HarnessTest, EqualTreesHaveNoDifference) {
  EXPECT_EQ(difference_after("true"), "");
}

TEST_F(HarnessTest, EveryKindOfDifferenceIsFound) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"printf y | dd of=d/file conv=notrunc; touch -d @1000000000 d/file", "content"},
      {"chmod 600 fifo", "mode"},
      {"chown 1 fifo", "uid"},
      {"touch -d @1000000000.5 fifo", "mtime"},
      {"ln -sfn other soft", "target"},
      {"setfattr -n user.a -v 2 d/file", "xattrs"},
      {"cp -p link l; mv l link", "linked with"},
      {"rm fifo; mkdir fifo", "type"},
      {"truncate -s 3 d/file", "size"},
      {"rm soft", "soft: is missing"},
      {"touch new", "new: is there, but not expected"}};
  for (const auto& [change, words] : changes) {
    if (change.starts_with("chown") && !is_root()) continue;
    SetUp();
    EXPECT_NE(difference_after(change).find(words), std::string::npos) << change;
  }
}

class LoopBtrfsTest : public BtrfsTest {};

TEST_F(LoopBtrfsTest, IsARealBtrfsThatGoesAway) {
  const auto mountpoint = path();
  const auto type = run_checked({"stat", "-f", "-c", "%T", mountpoint.string()});
  ASSERT_TRUE(type) << type.error().message();
  EXPECT_EQ(*type, "btrfs\n");
  const auto image = btrfs_->image_path();
  btrfs_.reset();
  EXPECT_FALSE(std::filesystem::exists(mountpoint));
  const auto devices = run_checked({"losetup", "--list", "--output", "BACK-FILE"});
  ASSERT_TRUE(devices) << devices.error().message();
  EXPECT_EQ(devices->find(image.string()), std::string::npos) << *devices;
}

TEST_F(LoopBtrfsTest, GoesAwayWhileAFileIsOpen) {
  const auto mountpoint = path();
  const auto file = open_file(mountpoint / "file", O_RDWR | O_CREAT, 0600);
  ASSERT_TRUE(file);
  btrfs_.reset();
  EXPECT_FALSE(std::filesystem::exists(mountpoint));
}

TEST_F(LoopBtrfsTest, KeepsItsContentWhenMountedAgain) {
  ASSERT_TRUE(replace_file(path() / "file", as_bytes("content")));
  ASSERT_TRUE(btrfs_->remount());
  EXPECT_EQ(as_text(*read_file(path() / "file", 100)), "content");
}

TEST_F(LoopBtrfsTest, TheSameSeedMakesTheSameTree) {
  for (const char* name : {"a", "b"}) {
    std::filesystem::create_directory(path() / name);
    RandomTree tree(path() / name, 42);
    const Status changed = tree.change(200);
    ASSERT_TRUE(changed) << changed.error().message();
  }
  auto a = describe_tree(path() / "a");
  auto b = describe_tree(path() / "b");
  ASSERT_TRUE(a && b);
  for (Tree* tree : {&*a, &*b})
    for (auto& [name, facts] : *tree) facts.modified = {};
  EXPECT_GT(a->size(), 30u);
  EXPECT_EQ(diff_trees(*a, *b), "");
}

}  // namespace
}  // namespace icbd::harness
