#include "progress_bar.h"

#include <gtest/gtest.h>

#include "fake_terminal.h"

namespace icbd::cli {
namespace {

using namespace std::chrono_literals;
constexpr std::uint64_t mebibyte = 1024 * 1024;

Progress progress(std::uint64_t done, std::uint64_t total) {
  return {.done = done, .total = total, .bytes_per_second = {}, .remaining = {}};
}

TEST(ProgressBar, MovesOnATerminalAndClearsItsLine) {
  testing::FakeTerminal fake;
  const Terminal terminal = fake.terminal(true, 80);
  {
    ProgressBar bar(terminal, "win11");
    bar.update(progress(mebibyte, 4 * mebibyte));
    fake.clock.advance(1s);
    bar.update(progress(2 * mebibyte, 4 * mebibyte));
  }
  const std::string shown = fake.out.str();
  EXPECT_NE(shown.find("[##"), std::string::npos) << shown;
  EXPECT_NE(shown.find("50 %  2.0 MiB of 4.0 MiB  1.0 MiB/s  0:02 left"), std::string::npos)
      << shown;
  EXPECT_TRUE(shown.ends_with("\r\x1b[K"));
  EXPECT_EQ(shown.find('\n'), std::string::npos);
}

TEST(ProgressBar, NeverWrapsANarrowTerminal) {
  testing::FakeTerminal fake;
  const Terminal terminal = fake.terminal(true, 20);
  ProgressBar bar(terminal, "an-image-with-a-long-name");
  bar.update(progress(1, 4 * mebibyte));
  EXPECT_EQ(fake.out.str(), "\ran-image-with-a-lo…\x1b[K");
}

TEST(ProgressBar, ElsewhereWritesALineEveryFiveSeconds) {
  testing::FakeTerminal fake;
  const Terminal terminal = fake.terminal(false);
  {
    ProgressBar bar(terminal, "win11");
    for (int second = 0; second < 10; ++second) {
      bar.update(progress(static_cast<std::uint64_t>(second) * mebibyte, 10 * mebibyte));
      fake.clock.advance(1s);
    }
  }
  EXPECT_EQ(fake.out.str(),
            "win11    0 %  0 B of 10.0 MiB\n"
            "win11   50 %  5.0 MiB of 10.0 MiB  1.0 MiB/s  0:05 left\n");
}

TEST(ProgressBar, SaysWhatTheServerMeasured) {
  testing::FakeTerminal fake;
  const Terminal terminal = fake.terminal(false);
  ProgressBar bar(terminal, "win11");
  bar.update({.done = 0, .total = 10, .bytes_per_second = 7 * mebibyte, .remaining = 61s});
  EXPECT_NE(fake.out.str().find("7.0 MiB/s  1:01 left"), std::string::npos);
}

TEST(ProgressBar, SaysThatTheTotalIsNotKnownYet) {
  testing::FakeTerminal fake;
  const Terminal terminal = fake.terminal(false);
  ProgressBar bar(terminal, "win11");
  bar.update(progress(0, 0));
  EXPECT_EQ(fake.out.str(), "win11  preparing\n");
}

}  // namespace
}  // namespace icbd::cli
