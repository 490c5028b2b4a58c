// `icbd receive` on a real BTRFS, and `icbd receive --dump`, as whole command lines.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
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

// beside_stock_test.cpp compares more of them.
std::string stock_dump(const std::string& stream) {
  const auto said = harness::run_checked({"btrfs", "receive", "--dump", "-f", golden(stream)});
  EXPECT_TRUE(said) << said.error().message();
  return said.value_or("");
}

TEST(ReceiveDump, PrintsOneCommandALineFromAFileOrStandardInput) {
  const std::string expected = stock_dump("full-v2.stream");
  CommandLine from_file;
  EXPECT_EQ(from_file.run({"receive", "--dump", "-f", golden("full-v2.stream")}), exit_done);
  EXPECT_EQ(from_file.out(), expected);
  CommandLine from_input(golden("full-v2.stream"));
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
  EXPECT_THAT(command.out(), StartsWith("subvol          ./one "));
  EXPECT_THAT(stock_dump("full-v2.stream"), StartsWith(command.out()));
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

// Names and values may hold anything, also what steers a terminal.
TEST(ReceiveDump, NothingThatCannotBePrintedIsPrinted) {
  CommandLine command(golden("metadata-v2.stream"));
  EXPECT_EQ(command.run({"receive", "--dump"}), exit_done);
  EXPECT_TRUE(std::ranges::all_of(command.out(), [](unsigned char byte) {
    return byte == '\n' || (byte >= 0x20 && byte < 0x7f);
  }));
  EXPECT_THAT(command.out(), HasSubstr("name=system.posix_acl_access data=\\002\\000"));
  EXPECT_THAT(command.out(), HasSubstr("fileattr=0x80"));
}

TEST(ReceiveDump, StreamsOneAfterAnotherAreAllPrinted) {
  auto folder = harness::TemporaryDirectory::create();
  const std::filesystem::path both = folder->path() / "stream";
  std::ofstream(both) << text_of(golden("full-v2.stream")) << text_of(golden("shape-v1.stream"));
  CommandLine command(both);
  EXPECT_EQ(command.run({"receive", "--dump"}), exit_done) << command.errors();
  EXPECT_EQ(command.out(), stock_dump("full-v2.stream") + stock_dump("shape-v1.stream"));
}

TEST(ReceiveDump, PackedStreamsAreUnpacked) {
  auto folder = harness::TemporaryDirectory::create();
  for (const std::string program : {"zstd", "lz4", "gzip"}) {
    const std::filesystem::path packed = folder->path() / program;
    ASSERT_TRUE(harness::shell_checked(program + " -c <" + golden("full-v2.stream").string() +
                                       " >" + packed.string()));
    CommandLine command(packed);
    EXPECT_EQ(command.run({"receive", "--dump"}), exit_done) << command.errors();
    EXPECT_EQ(command.out(), stock_dump("full-v2.stream")) << program;

    std::filesystem::resize_file(packed, std::filesystem::file_size(packed) - 1);
    CommandLine cut(packed);
    EXPECT_EQ(cut.run({"receive", "--dump"}), exit_failed) << program;
  }
}

// As the stock tool: whatever is wrong, it is 1.
TEST(ReceiveUsage, APathOrADumpAndNotBoth) {
  EXPECT_EQ(CommandLine().run({"receive"}), exit_failed);
  EXPECT_EQ(CommandLine().run({"receive", "--dump", "/srv"}), exit_failed);
  EXPECT_EQ(CommandLine().run({"receive", "--wrong", "/srv"}), exit_failed);
  EXPECT_EQ(CommandLine().run({"receive", "-E", "-1", "/srv"}), exit_failed);
  EXPECT_EQ(CommandLine().run({"receive", "-f", "/nowhere/stream", "/srv"}), exit_failed);
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
  EXPECT_EQ(first.out(), "");
  EXPECT_EQ(first.errors(), "At subvol one\n");
  CommandLine second(stream("two"));
  EXPECT_EQ(second.run({"receive", received}), exit_done) << second.errors();
  EXPECT_EQ(second.errors(), "At snapshot two\n");
  EXPECT_EQ(harness::diff_trees(path() / "one", path() / "received/one"), "");
  EXPECT_EQ(harness::diff_trees(path() / "two", path() / "received/two"), "");
}

TEST_F(ReceiveCommand, ParentsAreLookedForInTheWholeMountOrBelowAnotherRoot) {
  CommandLine command(stream("two"));
  EXPECT_EQ(command.run({"receive", "-m", received, received}), exit_failed);
  EXPECT_THAT(command.errors(), HasSubstr("parent"));
  CommandLine again(stream("two"));
  EXPECT_EQ(again.run({"receive", received}), exit_done) << again.errors();
}

TEST_F(ReceiveCommand, SaysAsMuchAsItIsToldTo) {
  CommandLine quiet(stream("one"));
  EXPECT_EQ(quiet.run({"receive", "-q", received}), exit_done);
  EXPECT_EQ(quiet.errors(), "");
  CommandLine verbose(stream("two"));
  EXPECT_EQ(verbose.run({"receive", "-v", received}), exit_done);
  EXPECT_THAT(verbose.errors(), HasSubstr("At snapshot two\nreceiving snapshot two uuid="));
  EXPECT_THAT(verbose.errors(), ::testing::Not(HasSubstr("\nwrite ")));
  std::filesystem::create_directory(path() / "more");
  CommandLine most(stream("one"));
  EXPECT_EQ(most.run({"receive", "-vv", (path() / "more").string()}), exit_done);
  EXPECT_THAT(most.errors(), HasSubstr("\nwrite "));
}

TEST_F(ReceiveCommand, JsonSaysWhatWasReceived) {
  CommandLine command(stream("one"));
  EXPECT_EQ(command.run({"--json", "receive", received}), exit_done) << command.errors();
  const auto answer = nlohmann::json::parse(command.out());
  ASSERT_EQ(answer["received"].size(), 1u);
  EXPECT_EQ(answer["received"][0]["path"], received + "/one");
  EXPECT_TRUE(answer["received"][0]["parent_uuid"].is_null());
}

TEST_F(ReceiveCommand, PassedOverErrorsAreSaid) {
  std::string damaged = text_of(stream("one"));
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 1);
  std::ofstream(stream("damaged")) << damaged;
  CommandLine command(stream("damaged"));
  EXPECT_EQ(command.run({"receive", "-q", "-e", "--max-errors", "2", received}), exit_done);
  EXPECT_THAT(command.errors(), HasSubstr("passed over: send stream, byte"));
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
  EXPECT_THAT(command.errors(), HasSubstr("evil?[2J"));
  EXPECT_EQ((command.out() + command.errors()).find("evil\x1b"), std::string::npos);
}

TEST_F(ReceiveCommand, ProgressGoesToTheTerminalOfErrorsOnly) {
  CommandLine quiet;
  EXPECT_EQ(quiet.run({"receive", "-f", stream("one"), received}), exit_done);
  EXPECT_EQ(quiet.errors(), "At subvol one\n");
  CommandLine watched;
  EXPECT_EQ(watched.run({"receive", "-f", stream("two"), received}, true), exit_done);
  EXPECT_THAT(watched.errors(), HasSubstr("receiving \"two\""));
  EXPECT_EQ(watched.out(), "");
}

}  // namespace
}  // namespace icbd::cli
