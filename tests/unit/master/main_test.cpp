// The program icbd-master as it is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "harness/loop_btrfs.h"
#include "harness/process.h"
#include "harness/run.h"

namespace icbd::master {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

struct MasterProgram : harness::BtrfsTest {
  // The configuration file, with its repository on the test's BTRFS.
  std::string configuration(const std::string& more = "") {
    std::filesystem::create_directory(path() / "repository");
    const std::string file = (path() / "master.toml").string();
    std::ofstream(file) << "[repository]\npath = \"" << (path() / "repository").string()
                        << "\"\n[rest]\nlisten = \"127.0.0.1:0\"\n[data]\nlisten = "
                           "\"127.0.0.1:0\"\n"
                        << more;
    return file;
  }
};

TEST_F(MasterProgram, SaysThatItIsReadyAndStopsOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto master = harness::Process::start({ICBD_MASTER_PROGRAM, "--config", configuration()},
                                                {.log_directory = path(), .name = "master"});
    ASSERT_TRUE(master) << master.error().message();
    const auto line = (*master)->wait_for_line("icbd-master ready", 30s);
    ASSERT_TRUE(line) << line.error().message();
    EXPECT_THAT(*line, HasSubstr(" rest=127.0.0.1:"));
    EXPECT_THAT(*line, HasSubstr(" data=127.0.0.1:"));
    ASSERT_TRUE((*master)->signal(signal));
    const auto exit_code = (*master)->wait_for_exit(30s);
    ASSERT_TRUE(exit_code) << exit_code.error().message();
    EXPECT_EQ(*exit_code, 0) << (*master)->error_output();
  }
}

TEST_F(MasterProgram, AWrongConfigurationIsExplainedAndExitsWithTwo) {
  const auto wrong =
      harness::run({ICBD_MASTER_PROGRAM, "--config", configuration("[log]\nlevle = \"info\"\n")});
  ASSERT_TRUE(wrong);
  EXPECT_EQ(wrong->exit_code, 2);
  EXPECT_THAT(wrong->output, HasSubstr("master.toml:8"));
  EXPECT_THAT(wrong->output, HasSubstr("levle"));
  EXPECT_THAT(wrong->output, HasSubstr("did you mean"));
}

TEST_F(MasterProgram, ChecksAConfigurationWithoutStarting) {
  const auto checked =
      harness::run({ICBD_MASTER_PROGRAM, "--config", configuration(), "--check-config"});
  ASSERT_TRUE(checked);
  EXPECT_EQ(checked->exit_code, 0);
  EXPECT_THAT(checked->output, HasSubstr("no errors"));
}

TEST_F(MasterProgram, WrongArgumentsExitWithTwo) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{ICBD_MASTER_PROGRAM},
        {ICBD_MASTER_PROGRAM, "--config", "/no/such/file"},
        {ICBD_MASTER_PROGRAM, "--config", configuration(), "--log-level", "loud"},
        {ICBD_MASTER_PROGRAM, "--nonsense"}}) {
    const auto refused = harness::run(arguments);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->exit_code, 2) << refused->output;
  }
}

TEST_F(MasterProgram, ARepositoryThatIsNotThereIsAFailure) {
  const std::string file = configuration();
  std::filesystem::remove(path() / "repository");
  const auto failed = harness::run({ICBD_MASTER_PROGRAM, "--config", file});
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->exit_code, 1);
  EXPECT_THAT(failed->output, HasSubstr((path() / "repository").string()));
}

}  // namespace
}  // namespace icbd::master
