// `icbd fsck` as it is called; what it finds is tested with the repository.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "icbd/cli/cli.h"

#include "fake_terminal.h"
#include "harness/temporary_directory.h"

namespace icbd::cli {
namespace {

// As its --help says.
constexpr int fsck_failed = 2;

using ::testing::HasSubstr;

struct FsckCommandTest : ::testing::Test {
  int run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "fsck");
    return cli::run(arguments,
                    {.server = "",
                     .working_directory = ::testing::TempDir(),
                     .configuration_directory = configurations.path()},
                    fake.terminal());
  }
  std::string errors() const { return fake.errors.str(); }

  testing::FakeTerminal fake;
  harness::TemporaryDirectory configurations = harness::TemporaryDirectory::create().value();
};

TEST_F(FsckCommandTest, AsksForOneRepository) {
  EXPECT_EQ(run({}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("--config FILE of its daemon, or --repository DIR"));
  EXPECT_EQ(run({"--config", "a", "--repository", "b"}), exit_usage);
}

TEST_F(FsckCommandTest, TakesTheOneConfigurationThatIsInstalled) {
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(configurations.path() / name) << text;
  };
  write("cache.toml", "[repository]\npath = \"/nowhere/at/all\"\n");
  EXPECT_EQ(run({}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("/nowhere/at/all"));
  write("master.toml", "[repository]\npath = \"/elsewhere\"\n");
  EXPECT_EQ(run({}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("2 configurations are in"));
}

TEST_F(FsckCommandTest, SaysWhatIsNoRepository) {
  EXPECT_EQ(run({"--repository", "/proc"}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("it has to be on BTRFS"));
}

TEST_F(FsckCommandTest, SaysWhatIsNoConfiguration) {
  const std::string file = ::testing::TempDir() + "icbd-fsck-kitchen.toml";
  std::ofstream(file) << "[kitchen]\nsink = true\n";
  EXPECT_EQ(run({"--config", "icbd-fsck-kitchen.toml"}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("no configuration of a master"));
  EXPECT_THAT(errors(), HasSubstr(file));
  std::filesystem::remove(file);
}

TEST_F(FsckCommandTest, TakesTheDirectoryFromTheConfiguration) {
  const std::string file = ::testing::TempDir() + "icbd-fsck-nowhere.toml";
  std::ofstream(file) << "[repository]\npath = \"/nowhere/at/all\"\n";
  EXPECT_EQ(run({"--config", file}), fsck_failed);
  EXPECT_THAT(errors(), HasSubstr("/nowhere/at/all"));
  std::filesystem::remove(file);
}

TEST_F(FsckCommandTest, ExplainsItsExitCodes) {
  EXPECT_EQ(run({"--help"}), exit_done);
  EXPECT_THAT(fake.out.str(), HasSubstr("3 findings are left"));
}

}  // namespace
}  // namespace icbd::cli
