#include "icbd/base/child_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "icbd/base/unique_fd.h"

namespace icbd {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(ChildProgram, SaysWhatItWroteAndHowItEnded) {
  const auto ended = run_child({"sh", "-c", "echo out; echo wrong >&2; exit 7"});
  ASSERT_TRUE(ended) << ended.error().message();
  EXPECT_EQ(ended->exit_code, 7);
  EXPECT_EQ(ended->output, "out\n");
  EXPECT_EQ(ended->errors, "wrong\n");
}

TEST(ChildProgram, OneThatIsNotThereEndsWith127AndAKilledOneWith128AndItsSignal) {
  EXPECT_EQ(run_child({"/there/is/none"})->exit_code, 127);
  EXPECT_EQ(run_child({"sh", "-c", "kill -KILL $$"})->exit_code, 128 + SIGKILL);
}

TEST(ChildProgram, HasNoInputAndSpeaksEnglish) {
  EXPECT_EQ(run_child({"sh", "-c", "cat; echo $LC_ALL"})->output, "C\n");
}

// Whatever libraries have opened without O_CLOEXEC.
TEST(ChildProgram, InheritsNoDescriptorOfOurs) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const unique_fd ours(ends[0]), theirs(ends[1]);
  const unique_fd high(fcntl(theirs.get(), F_DUPFD, 500));
  ASSERT_TRUE(high);
  const auto ended =
      run_child({"sh", "-c",
                 fmt::format("for fd in {} {} {}; do readlink /proc/self/fd/$fd; done; echo end",
                             ours.get(), theirs.get(), high.get())});
  ASSERT_TRUE(ended) << ended.error().message();
  EXPECT_EQ(ended->output, "end\n");
}

TEST(ChildProgram, ItsLastErrorsAreKeptHoweverManyThereAre) {
  const auto ended =
      run_child({"sh", "-c", "yes noise | head -c 1000000 >&2; echo the reason >&2"});
  ASSERT_TRUE(ended);
  EXPECT_LE(ended->errors.size(), 64u * 1024);
  EXPECT_TRUE(ended->errors.ends_with("the reason\n"));
}

TEST(ChildProgram, WhoeverTakesItsOutputCanEndIt) {
  std::size_t taken = 0;
  const auto ended = run_child({"yes"}, {.on_output = [&](std::string_view piece) -> Status {
                                 taken += piece.size();
                                 if (taken < 100'000) return {};
                                 return fail(ErrorCode::corrupt, "that was enough");
                               }});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().message(), "that was enough");
}

TEST(ChildProgram, CanBeCancelled) {
  const std::atomic<bool> cancelled = true;
  const auto ended = run_child({"sleep", "1000"}, {.cancelled = &cancelled});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::cancelled);
}

TEST(ChildProgram, OneThatFallsSilentIsEnded) {
  const auto silent = run_child({"sh", "-c", "echo once; sleep 1000"}, {.longest_silence = 200ms});
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().code(), ErrorCode::timed_out);
  EXPECT_THAT(silent.error().message(), HasSubstr("has said nothing"));
  EXPECT_TRUE(run_child({"sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done"},
                        {.longest_silence = 2s}));
}

}  // namespace
}  // namespace icbd
