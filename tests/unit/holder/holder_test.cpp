// The promises of holder.h, one by one.
#include "icbd/holder/holder.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "unit/holder/holder_fixture.h"

namespace icbd::holder {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void wait_until(const std::function<bool()>& condition, const char* what) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << what;
    std::this_thread::sleep_for(2ms);
  }
}

TEST(Channel, WithoutAHolderThereIsNone) {
  EXPECT_FALSE(Channel::open());
  ::setenv("ICBD_HOLDER", (std::to_string(::getpid()) + ":0").c_str(), 1);
  EXPECT_FALSE(Channel::open()) << "inherited, of somebody further up";
  ::setenv("ICBD_HOLDER", (std::to_string(::getppid()) + ":99999").c_str(), 1);
  EXPECT_FALSE(Channel::open()) << "no descriptor";
  ::unsetenv("ICBD_HOLDER");
}

// ---- ends ------------------------------------------------------------------------------------

TEST_P(HolderTest, EndsWithAWorkerThatHasEndedOnItsOwnAccount) {
  start({"ready,exit:0"});
  EXPECT_EQ(end(), 0);
}

TEST_P(HolderTest, EndsWithTheCodeOfAWorkerThatNeverCameUp) {
  start({"exit:7"});
  EXPECT_EQ(end(), 7);
  EXPECT_FALSE(was_said("1"));
}

TEST_P(HolderTest, EndsWithAWorkerThatDiedBeforeItWasReadyForTheFirstTime) {
  start({"raise:14"});
  EXPECT_EQ(end(), 1);
  EXPECT_TRUE(was_logged("ALRM"));
}

TEST_P(HolderTest, PassesTheSignalToStopOn) {
  for (const int signal : {SIGTERM, SIGINT}) {
    start({"serve"});
    wait_for("ready 0");
    ASSERT_TRUE(holder_->signal(signal));
    EXPECT_EQ(end(), 0);
    EXPECT_TRUE(was_said("stop 0"));
  }
}

TEST_P(HolderTest, AWorkerThatIsStoppedBeforeItTakesSignalsHasDoneWhatItWasTold) {
  start({"print:starting,wait-for:/nowhere"});
  wait_for("starting 0");
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, TheWorkerDiesWithTheHolder) {
  start({"print:starting,say:READY=1,serve"});
  wait_for("ready 0");
  ASSERT_FALSE(workers().empty());
  const pid_t worker = workers().front();
  ASSERT_TRUE(holder_->signal(SIGKILL));
  end();
  wait_until(
      [&] {
        // Empty, too, of one that nobody has reaped.
        std::ifstream file("/proc/" + std::to_string(worker) + "/cmdline");
        std::string line;
        return !(file >> line) || line.find(ICBD_HOLDER_TOOL) == std::string::npos;
      },
      "a worker without a holder");
}

// ---- the next one ----------------------------------------------------------------------------

TEST_P(HolderTest, AWorkerThatDiesIsReplacedAndTheNextOneHearsWhy) {
  start({"ready,raise:14", "why,ready,exit:3", "why,ready,raise:9", "why,serve"});
  wait_for("ready 3");
  EXPECT_TRUE(was_said("why: it was ended by signal 14 (ALRM); 1"));
  EXPECT_TRUE(was_said("why: it ended with code 3; 2"));
  EXPECT_TRUE(was_said("why: it was ended by signal 9 (KILL); 3"));
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, AWorkerThatFallsSilentIsKilledAndReplaced) {
  start({"300", "60000", "fall-silent", "why,serve"});
  wait_for("ready 1");
  EXPECT_TRUE(was_said("why: it hung; 1"));
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, AWorkerThatGivesSignsIsLeftAlone) {
  start({"300", "60000", "serve", "print:replaced,serve"});
  wait_for("ready 0");
  std::this_thread::sleep_for(1s);  // what must not happen has no condition to wait for
  EXPECT_EQ(stop(), 0);
  EXPECT_FALSE(was_said("replaced"));
}

TEST_P(HolderTest, AWorkerThatStartsForLongIsNotTakenForHung) {
  const std::string go = (folder_.path() / "go").string();
  start({"100", "60000", "print:starting,wait-for:" + go + ",serve"});
  wait_for("starting 0");
  std::this_thread::sleep_for(500ms);  // as above
  std::ofstream(go) << "";
  wait_for("ready 0");
  EXPECT_EQ(stop(), 0);
}

// Takes about 15 s: there are pauses between them.
TEST_P(HolderTest, GivesUpAfterTenInARowThatDieAsTheyStart) {
  start({"ready,raise:14", "print:started,raise:14"});
  EXPECT_EQ(end(), gave_up);
  EXPECT_TRUE(was_said("started 10"));
  EXPECT_FALSE(was_said("started 11"));
}

TEST_P(HolderTest, WhomSomebodyKillsAsTheyStartAreNotCounted) {
  std::vector<std::string> scripts(15, "raise:9");
  scripts.front() = "ready,raise:9";
  scripts.emplace_back("serve");
  start(scripts);
  wait_for("ready 15");
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, StopsAlsoInAPause) {
  start({"ready,raise:14", "raise:14", "raise:14", "raise:14", "raise:14", "print:started,raise:14",
         "serve"});
  wait_for("started 5");
  const auto deaths = [&] {
    const std::string log = holder_->error_output();
    std::size_t count = 0;
    for (auto at = log.find("died"); at != log.npos; at = log.find("died", at + 1)) ++count;
    return count;
  };
  wait_until([&] { return deaths() == 6; }, "the last one does not die");
  EXPECT_EQ(stop(), 0);
  EXPECT_FALSE(was_said("ready 6"));
}

// Whatever kills them may be quicker than one gets ready.
TEST_P(HolderTest, OneStandsByAlsoWhileTheWorkerStarts) {
  const std::string go = (folder_.path() / "go").string();
  start({"ready,raise:9", "print:starting,wait-for:" + go + ",serve"});
  wait_for("starting 1");
  wait_until([&] { return workers().size() == 2; }, "nobody stands by");
  std::ofstream(go) << "";
  wait_for("ready 1");
  EXPECT_EQ(stop(), 0);
}

// ---- descriptors -----------------------------------------------------------------------------

TEST_P(HolderTest, WhatIsKeptComesBackEveryTime) {
  start({"kept,keep:one,keep:two,ready,raise:9", "kept,keep:three,ready,raise:9", "kept,serve"});
  wait_for("ready 2");
  EXPECT_FALSE(was_said("kept one=one 0"));
  EXPECT_TRUE(was_said("kept one=one 1"));
  EXPECT_TRUE(was_said("kept two=two 1"));
  for (const char* kept : {"kept one=one 2", "kept two=two 2", "kept three=three 2"})
    EXPECT_TRUE(was_said(kept)) << kept;
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, OfOneNameTheLastOneIsKept) {
  start({"keep:one,keep:one,ready,raise:9", "kept,serve"});
  wait_for("ready 1");
  EXPECT_THAT(holder_->output(), HasSubstr("kept one=one 1\nthat is all 1"));
  EXPECT_EQ(stop(), 0);
}

// ---- reload ----------------------------------------------------------------------------------

TEST_P(HolderTest, PassesTheSignalToReloadOn) {
  start({"serve"});
  wait_for("ready 0");
  ASSERT_TRUE(holder_->signal(SIGHUP));
  wait_for("reload 0");
  EXPECT_EQ(stop(), 0);
}

TEST_P(HolderTest, AReloadWhileTheWorkerStartsWaitsUntilItCanTakeTheSignal) {
  const std::string go = (folder_.path() / "go").string();
  start({"print:starting,wait-for:" + go + ",serve"});
  wait_for("starting 0");
  ASSERT_TRUE(holder_->signal(SIGHUP));
  std::ofstream(go) << "";
  wait_for("reload 0");
  EXPECT_EQ(stop(), 0);
}

// The file may have an error by then, and nobody else could take over as fast.
TEST_P(HolderTest, AReloadLeavesTheOneThatStandsByWhereItIs) {
  start({"serve", "serve"});
  wait_for("ready 0");
  wait_until([&] { return workers().size() == 2; }, "nobody stands by");
  const std::vector<pid_t> before = workers();
  ASSERT_TRUE(holder_->signal(SIGHUP));
  wait_for("reload 0");
  ASSERT_EQ(::kill(before.front(), SIGKILL), 0);
  wait_for("ready 1");
  EXPECT_EQ(workers().front(), before.back());
  EXPECT_EQ(stop(), 0);
}

// ---- upgrades --------------------------------------------------------------------------------

class UpgradeTest : public HolderTest {
 protected:
  // The same program in another place.
  const std::string other_ = [this] {
    const auto path = folder_.path() / "other_tool";
    std::filesystem::copy_file(ICBD_HOLDER_TOOL, path);
    return path.string();
  }();
};

TEST_P(UpgradeTest, TheWorkerHandsOverToTheNewProgram) {
  start({"keep:one,ready,say:X_UPGRADE=" + other_ + ",serve", "why,kept,program,serve"});
  wait_for("ready 1");
  EXPECT_TRUE(was_said("hand over 0"));
  EXPECT_TRUE(was_said("why: it handed over; 1"));
  EXPECT_TRUE(was_said("kept one=one 1"));
  EXPECT_TRUE(was_said("program " + other_ + " 1"));
  EXPECT_EQ(stop(), 0);
}

TEST_P(UpgradeTest, TheNewProgramStaysWhenItsWorkerDies) {
  start({"ready,say:X_UPGRADE=" + other_ + ",serve", "ready,raise:9", "program,serve"});
  wait_for("ready 2");
  EXPECT_TRUE(was_said("program " + other_ + " 2"));
  EXPECT_EQ(stop(), 0);
}

// The worker may answer people a moment before the holder knows that it is ready.
TEST_P(UpgradeTest, WhatIsAskedWhileTheWorkerStartsIsDoneWhenItIsReady) {
  start({"say:X_UPGRADE=,serve", "serve"});
  wait_for("ready 1");
  EXPECT_EQ(stop(), 0);
}

TEST_P(UpgradeTest, ASignalReplacesTheWorkerByOneOfItsOwnProgram) {
  start({"serve", "program,serve"});
  wait_for("ready 0");
  ASSERT_TRUE(holder_->signal(SIGUSR2));
  wait_for("ready 1");
  EXPECT_TRUE(was_said("hand over 0"));
  EXPECT_TRUE(was_said("program " + std::filesystem::canonical(ICBD_HOLDER_TOOL).string() + " 1"));
  EXPECT_EQ(stop(), 0);
}

TEST_P(UpgradeTest, AfterAProgramThatEndsTheOneBeforeGoesOn) {
  for (const char* program : {"/bin/false", "/bin/true"}) {
    start({std::string("ready,say:X_UPGRADE=") + program + ",failures,serve", "serve"});
    wait_for("failures: 1, it ended with code");
    wait_for("ready 0");
    EXPECT_EQ(stop(), 0);
    EXPECT_FALSE(was_said("hand over 0")) << "it serves while the next one is prepared";
    EXPECT_TRUE(was_logged("the new program did not come up: it ended with code"));
  }
}

TEST_P(UpgradeTest, AfterAProgramThatIsNotReadyInTimeTheOneBeforeGoesOn) {
  start({"30000", "300", "ready,say:X_UPGRADE=" + other_ + ",serve", "hang", "why,program,serve"});
  wait_for("ready 2");
  EXPECT_THAT(holder_->output(), HasSubstr("why: the upgrade failed: it was ended by signal 9"));
  EXPECT_THAT(holder_->output(), Not(HasSubstr("program " + other_)));
  EXPECT_EQ(stop(), 0);
}

TEST_P(UpgradeTest, AProgramThatCannotBeExecutedReplacesNobody) {
  start({"ready,say:X_UPGRADE=/nowhere,failures,say:X_UPGRADE=/etc/passwd,failures,serve",
         "print:replaced,serve"});
  wait_for("ready 0");
  wait_for("failures: 2,");
  EXPECT_EQ(stop(), 0);
  EXPECT_TRUE(was_logged("the new program did not come up: open /nowhere"));
  EXPECT_TRUE(was_logged("the new program did not come up: it ended with code 127"));
  EXPECT_FALSE(was_said("replaced"));
}

// ---- the real service manager ----------------------------------------------------------------

// Plays systemd above the holder.
class ManagedHolderTest : public HolderTest {
 protected:
  ManagedHolderTest() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    const timeval longest{.tv_sec = 30, .tv_usec = 0};
    EXPECT_EQ(::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest), 0);
  }
  std::string next() {
    std::array<char, 1000> text{};
    const ssize_t got = ::recv(socket_.get(), text.data(), text.size(), 0);
    return got < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(got));
  }

  const std::string path_ = (folder_.path() / "notify").string();
  unique_fd socket_;
};

TEST_P(ManagedHolderTest, HearsWhatTheWorkerSaysButNotWhatIsTheHoldersOwn) {
  start({"keep:one,say:WATCHDOG=1,say:X_UNMOUNT=,say:STATUS=fine,say:X_A=1\nMAIN=2,serve"},
        {"NOTIFY_SOCKET=" + path_});
  EXPECT_EQ(next(), "STATUS=fine\n");
  EXPECT_EQ(next(), "MAIN=2\n");
  EXPECT_EQ(next(), "READY=1\n");
  EXPECT_EQ(stop(), 0);
}

TEST_P(ManagedHolderTest, DoesNotHearOthersThanTheWorker) {
  start({"other-says:STATUS=not me,say:STATUS=me,serve"}, {"NOTIFY_SOCKET=" + path_});
  EXPECT_EQ(next(), "STATUS=me\n");
  EXPECT_EQ(stop(), 0);
}

TEST_P(ManagedHolderTest, IsGivenSignsByTheHolderItself) {
  start({"ready,hang"}, {"NOTIFY_SOCKET=" + path_, "WATCHDOG_USEC=600000"});
  EXPECT_EQ(next(), "READY=1\n");
  EXPECT_EQ(next(), "WATCHDOG=1");
  EXPECT_EQ(next(), "WATCHDOG=1");
}

ICBD_WITH_BOTH_KINDS_OF_WORKERS(HolderTest);
ICBD_WITH_BOTH_KINDS_OF_WORKERS(UpgradeTest);
ICBD_WITH_BOTH_KINDS_OF_WORKERS(ManagedHolderTest);

}  // namespace
}  // namespace icbd::holder
