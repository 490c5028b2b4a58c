// The view's life around its process: handing over, dying, and what it tells the kernel meanwhile.
// Real mounts; needs root.
#include "icbd/fs/view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <future>
#include <new>
#include <thread>

#include "icbd/fs/mount_table.h"

#include "fake_library.h"
#include "harness/loop_btrfs.h"
#include "harness/temporary_directory.h"

namespace icbd::fs {
namespace {

using namespace std::chrono_literals;

bool becomes_true(const std::function<bool()>& condition, std::chrono::seconds longest = 20s) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

ImageEntry image(std::uint32_t id, const std::string& name, std::uint32_t versions) {
  ImageEntry image{.id = id, .name = name, .modified = {}, .versions = {}, .links = {}};
  for (std::uint32_t number = 1; number <= versions; ++number) {
    VersionEntry version{.serial = VersionSerial(id * 100 + number),
                         .number = VersionNumber(number),
                         .state = "remote",
                         .image = name,
                         .generation = 0,
                         .root = {}};
    version.root.st_mode = S_IFDIR | 0755;
    image.versions.push_back(version);
  }
  return image;
}

class ViewTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    std::filesystem::create_directory(mountpoint_);
    library_.show({image(1, "win11", 2)});
  }
  void TearDown() override {
    view_.reset();
    // Answers also those whom nobody answers any more (fuse_umount_begin).
    ::umount2(mountpoint_.c_str(), MNT_FORCE | MNT_DETACH);
    ::umount2(mountpoint_.c_str(), MNT_DETACH);
  }

  Status mount(std::vector<ViewDirectory> directories = {}) {
    ICBD_ASSIGN(view_,
                View::mount(library_, {.mountpoint = mountpoint_, .directories = directories},
                            make_silent_logger()));
    keep();
    return {};
  }
  // As a holder does.
  void keep() {
    device_.reset(::fcntl(view_->kept().device, F_DUPFD_CLOEXEC, 0));
    memory_.reset(::fcntl(view_->kept().memory, F_DUPFD_CLOEXEC, 0));
  }
  KeptMount kept() const {
    return {.device = unique_fd(::fcntl(device_.get(), F_DUPFD_CLOEXEC, 0)),
            .memory = unique_fd(::fcntl(memory_.get(), F_DUPFD_CLOEXEC, 0))};
  }
  Status take_over(std::vector<ViewDirectory> directories = {}) {
    ICBD_ASSIGN(view_,
                View::mount(library_,
                            {.mountpoint = mountpoint_, .directories = directories, .kept = kept()},
                            make_silent_logger()));
    return {};
  }
  void leave() {
    view_->hand_over();
    view_.reset();
  }
  // 0, or why not.
  int look(const std::string& path) const {
    struct stat attributes{};
    return ::stat((mountpoint_ / path).c_str(), &attributes) == 0 ? 0 : errno;
  }

  harness::TemporaryDirectory folder_ = harness::TemporaryDirectory::create().value();
  const std::filesystem::path mountpoint_ = folder_.path() / "view";
  FakeLibrary library_;
  std::unique_ptr<View> view_;
  unique_fd device_, memory_;
};

TEST_F(ViewTest, WhatIsAskedBetweenTwoProcessesIsAnsweredByTheSecond) {
  ASSERT_TRUE(mount());
  ASSERT_EQ(look("win11/1"), 0);
  leave();
  auto asked = std::async(std::launch::async, [this] { return look("win11/nothing"); });
  ASSERT_TRUE(take_over());
  EXPECT_EQ(asked.get(), ENOENT);
  EXPECT_EQ(type_of_mount(mountpoint_).value(), filesystem_type);
}

TEST_F(ViewTest, AProcessThatCannotTakeOverLeavesTheMountToTheNext) {
  ASSERT_TRUE(mount());
  leave();
  EXPECT_FALSE(take_over({{.name = "site", .source = "/nowhere"}}));
  EXPECT_EQ(type_of_mount(mountpoint_).value(), filesystem_type);
  ASSERT_TRUE(take_over());
  EXPECT_EQ(look("win11/2"), 0);
}

TEST_F(ViewTest, WhatIsMountedOnTheSitesDirectoryStaysWhenAnImageOfItsNameGoes) {
  const auto source = folder_.path() / "source";
  std::filesystem::create_directory(source);
  std::ofstream(source / "file") << "";
  library_.show({image(1, "site", 1), image(2, "gone", 1)});
  ASSERT_TRUE(mount({{.name = "site", .source = source}}));
  EXPECT_EQ(look("site/file"), 0);
  ASSERT_EQ(look("gone"), 0);
  library_.show({});
  view_->library_changed();
  EXPECT_TRUE(becomes_true([this] { return look("gone") == ENOENT; }));
  EXPECT_EQ(look("site/file"), 0);
}

// What is busy for ever is taken for hung by whoever watches it, and replaced. Mounting itself is a
// request; were it never done with, this would be seen.
TEST_F(ViewTest, AViewThatNobodyAsksIsBusyWithNothing) {
  ASSERT_TRUE(mount());
  ASSERT_EQ(look("win11/1"), 0);
  EXPECT_TRUE(becomes_true([this] { return view_->longest_operation() == 0ms; }));
}

// ---- with a lookup under way -----------------------------------------------------------------

// One caller is held up for ever.
class HeldLibrary final : public FakeLibrary {
 public:
  struct Gate {
    std::atomic<bool> asked = false, hold = false, held = false;
  };
  explicit HeldLibrary(Gate& gate) : gate_(gate) {}

  std::shared_ptr<const Images> images() override {
    if (gate_.hold.exchange(false)) {
      gate_.held = true;
      for (;;) ::pause();
    }
    gate_.asked = true;
    return FakeLibrary::images();
  }

 private:
  Gate& gate_;
};

// A process that is stuck in the kernel, or whose child is.
bool is_stuck(pid_t process) {
  const std::filesystem::path tasks = "/proc/" + std::to_string(process) + "/task";
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    std::ifstream stat(task.path() / "stat");
    std::string number, name, state;
    stat >> number >> name >> state;
    if (state == "D") return true;
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;)
      if (is_stuck(child)) return true;
  }
  return false;
}

class LookupUnderWayTest : public ViewTest {
 protected:
  void SetUp() override {
    ViewTest::SetUp();
    if (IsSkipped()) return;
    void* const shared = ::mmap(nullptr, sizeof(HeldLibrary::Gate), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    gate_ = new (shared) HeldLibrary::Gate();
  }

  // In a process of its own: goes on with the mount, and tells the kernel of a version that has
  // gone, while a lookup in its image is under way.
  [[noreturn]] void serve_and_change() {
    HeldLibrary library(*gate_);
    library.show({image(1, "win11", 2)});
    const auto view =
        View::mount(library, {.mountpoint = mountpoint_, .kept = kept()}, make_silent_logger());
    if (!view) ::_exit(1);
    while (!gate_->held) std::this_thread::sleep_for(1ms);
    library.show({image(1, "win11", 1)});
    (*view)->library_changed();
    for (;;) ::pause();
  }

  HeldLibrary::Gate* gate_ = nullptr;
};

// The kernel waits for the lookup, with a lock that cannot be interrupted, before it forgets a
// name.
TEST_F(LookupUnderWayTest, AProcessThatIsKilledWhileItTellsTheKernelEndsAllTheSame) {
  ASSERT_TRUE(mount());
  leave();
  const pid_t process = ::fork();
  ASSERT_GE(process, 0);
  if (process == 0) serve_and_change();
  // By its comparison with the process before: nobody else has asked yet.
  ASSERT_TRUE(becomes_true([&] { return gate_->asked.load(); }));
  ASSERT_EQ(look("win11/1"), 0);
  gate_->hold = true;
  auto asked = std::async(std::launch::async, [this] { return look("win11/nothing"); });
  EXPECT_TRUE(becomes_true([&] { return is_stuck(process); })) << "nothing was to be waited for";
  ::kill(process, SIGKILL);
  const bool ended =
      becomes_true([&] { return ::waitpid(process, nullptr, WNOHANG) == process; }, 5s);
  EXPECT_TRUE(ended) << "nobody can take over";
  if (ended) {
    EXPECT_TRUE(take_over());
  } else {
    ::umount2(mountpoint_.c_str(), MNT_FORCE | MNT_DETACH);
    ::waitpid(process, nullptr, 0);
  }
  EXPECT_EQ(asked.get(), ended ? ENOENT : ECONNABORTED);
}

}  // namespace
}  // namespace icbd::fs
