// `icbd receive` on a real BTRFS, and `icbd receive --dump`, as whole command lines.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/cli/cli.h"

#include "fake_terminal.h"
#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/tree.h"

namespace icbd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(ICBD_GOLDEN_STREAMS) / name;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// One command line; its standard input is this file.
struct CommandLine {
  explicit CommandLine(const std::filesystem::path& input = "/dev/null")
      : input_fd(open_file(input, O_RDONLY).value()) {}

  int run(const std::vector<std::string>& arguments, bool errors_interactive = false) {
    const Terminal shown = fake.terminal();
    const Terminal terminal{.out = shown.out,
                            .errors = shown.errors,
                            .errors_interactive = errors_interactive,
                            .clock = shown.clock,
                            .pause = shown.pause};
    return cli::run(arguments, {.server = "", .working_directory = "/", .input_fd = input_fd.get()},
                    terminal);
  }
  std::string out() const { return fake.out.str(); }
  std::string errors() const { return fake.errors.str(); }

  unique_fd input_fd;
  testing::FakeTerminal fake;
};

TEST(ReceiveDump, PrintsOneCommandALineFromAFileOrStandardInput) {
  const std::string expected = text_of(golden("metadata-v2.dump"));
  CommandLine from_file;
  EXPECT_EQ(from_file.run({"receive", "--dump", "-f", golden("metadata-v2.stream")}), exit_done);
  EXPECT_EQ(from_file.out(), expected);
  CommandLine from_input(golden("metadata-v2.stream"));
  EXPECT_EQ(from_input.run({"receive", "--dump"}), exit_done);
  EXPECT_EQ(from_input.out(), expected);
  EXPECT_EQ(from_input.errors(), "");
}

TEST(ReceiveDump, ADamagedStreamIsPrintedUpToItsDamage) {
  auto folder = harness::TemporaryDirectory::create();
  const std::filesystem::path damaged = folder->path() / "stream";
  std::string stream = text_of(golden("full-v2.stream"));
  stream[stream.size() / 2] = static_cast<char>(stream[stream.size() / 2] ^ 1);
  std::ofstream(damaged) << stream;
  CommandLine command(damaged);
  EXPECT_EQ(command.run({"receive", "--dump"}), exit_failed);
  EXPECT_THAT(command.out(), StartsWith("subvol ./one uuid="));
  EXPECT_THAT(text_of(golden("full-v2.dump")), StartsWith(command.out()));
  EXPECT_THAT(command.errors(), HasSubstr("checksum"));
}

TEST(ReceiveDump, ACutStreamIsAFailure) {
  auto folder = harness::TemporaryDirectory::create();
  const std::filesystem::path cut = folder->path() / "stream";
  const std::string stream = text_of(golden("full-v2.stream"));
  std::ofstream(cut) << stream.substr(0, stream.size() - 1);
  CommandLine command(cut);
  EXPECT_EQ(command.run({"receive", "--dump"}), exit_failed);
  EXPECT_THAT(command.errors(), HasSubstr("stops before its end"));
}

TEST(ReceiveUsage, APathOrADumpAndNotBoth) {
  EXPECT_EQ(CommandLine().run({"receive"}), exit_usage);
  EXPECT_EQ(CommandLine().run({"receive", "--dump", "/srv"}), exit_usage);
  EXPECT_EQ(CommandLine().run({"receive", "--json", "/srv"}), exit_usage);
  EXPECT_EQ(CommandLine().run({"receive", "-f", "/nowhere/stream", "/srv"}), exit_not_found);
}

class ReceiveCommand : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const auto made = harness::shell_checked("cd '" + path().string() + R"('
      mkdir received
      btrfs -q subvolume create live
      head -c 3000000 /dev/urandom >live/disk
      btrfs -q subvolume snapshot -r live one
      echo more >>live/disk
      btrfs -q subvolume snapshot -r live two
      btrfs -q send -f one.stream one
      btrfs -q send -p one -f two.stream two)");
    ASSERT_TRUE(made) << made.error().message();
    received = (path() / "received").string();
  }
  std::string stream(const std::string& version) const {
    return (path() / (version + ".stream")).string();
  }

  std::string received;
};

TEST_F(ReceiveCommand, AppliesStreamsFromAFileAndFromStandardInput) {
  CommandLine first;
  EXPECT_EQ(first.run({"receive", "-f", stream("one"), received}), exit_done) << first.errors();
  EXPECT_EQ(first.out(), "received " + received + "/one\n");
  CommandLine second(stream("two"));
  EXPECT_EQ(second.run({"receive", received}), exit_done) << second.errors();
  EXPECT_EQ(harness::diff_trees(path() / "one", path() / "received/one"), "");
  EXPECT_EQ(harness::diff_trees(path() / "two", path() / "received/two"), "");
}

TEST_F(ReceiveCommand, AMissingParentHasAnExitCodeOfItsOwn) {
  CommandLine command(stream("two"));
  EXPECT_EQ(command.run({"receive", received}), exit_not_found);
  EXPECT_THAT(command.errors(), HasSubstr("parent"));
}

TEST_F(ReceiveCommand, AfterAFailureItSaysThatNothingIsLeft) {
  const std::string whole = text_of(stream("one"));
  std::ofstream(stream("cut")) << whole.substr(0, whole.size() / 2);
  CommandLine command(stream("cut"));
  EXPECT_EQ(command.run({"receive", received}), exit_failed);
  EXPECT_THAT(command.errors(), HasSubstr("what had arrived of \"one\" was deleted"));
  EXPECT_TRUE(std::filesystem::is_empty(received));

  CommandLine again(stream("one"));
  EXPECT_EQ(again.run({"receive", received}), exit_done) << again.errors();
  EXPECT_EQ(again.run({"receive", "-f", stream("one"), received}), exit_failed);
  EXPECT_THAT(again.errors(), HasSubstr("exists"));
  EXPECT_TRUE(std::filesystem::exists(received + "/one/disk"));
}

TEST_F(ReceiveCommand, ANameCannotSteerTheTerminal) {
  const auto made = harness::shell_checked("cd '" + path().string() + R"('
    name=$(printf 'evil\033[2J')
    btrfs -q subvolume snapshot -r live "$name"
    btrfs -q send -f evil.stream "$name")");
  ASSERT_TRUE(made) << made.error().message();
  CommandLine command;
  EXPECT_EQ(command.run({"receive", "-f", stream("evil"), received}, true), exit_done);
  EXPECT_EQ(command.run({"receive", "-f", stream("evil"), received}), exit_failed);
  EXPECT_THAT(command.out(), HasSubstr("evil?[2J"));
  EXPECT_EQ((command.out() + command.errors()).find("evil\x1b"), std::string::npos);
}

TEST_F(ReceiveCommand, ProgressGoesToTheTerminalOfErrorsOnly) {
  CommandLine quiet;
  EXPECT_EQ(quiet.run({"receive", "-f", stream("one"), received}), exit_done);
  EXPECT_EQ(quiet.errors(), "");
  CommandLine watched;
  EXPECT_EQ(watched.run({"receive", "-f", stream("two"), received}, true), exit_done);
  EXPECT_THAT(watched.errors(), HasSubstr("receiving \"two\""));
  EXPECT_EQ(watched.out(), "received " + received + "/two\n");
}

}  // namespace
}  // namespace icbd::cli
