#include "ssh_words.h"

#include <gmock/gmock.h>

#include "harness/run.h"

namespace icbd::pull {
namespace {

using ::testing::Contains;
using ::testing::Not;

Machine machine() {
  return {.user = "backup", .host = "disks.example", .directory = "/srv/it's $HOME"};
}

TEST(SshWords, WhatIsQuotedIsOneWordForTheShellWhateverItHolds) {
  for (const std::string word : {"plain", "two words", "it's", "''", "\"", "$HOME `id` $(id)",
                                 "a\nb", "*", "-n", "\\", "!x", "; rm -rf /", ""}) {
    const auto said = harness::shell_checked("printf %s " + shell_quote(word));
    ASSERT_TRUE(said) << said.error().message();
    EXPECT_EQ(*said, word);
  }
}

TEST(SshWords, TheHostIsNeverTakenForAnOption) {
  Machine evil = machine();
  evil.host = "-oProxyCommand=id";
  const auto words = ssh_words(evil, "true");
  EXPECT_THAT(words, Contains("--"));
  EXPECT_EQ(words.at(words.size() - 3), "--");
  EXPECT_EQ(words.back(), "true");
}

TEST(SshWords, NobodyIsAskedAndADeadLinkIsNoticed) {
  const auto words = ssh_words(machine(), "true");
  EXPECT_THAT(words, Contains("BatchMode=yes"));
  EXPECT_THAT(words, Contains("StrictHostKeyChecking=yes"));
  EXPECT_THAT(words, Contains("ServerAliveInterval=3"));
  EXPECT_THAT(words, Not(Contains("-i")));
}

TEST(SshWords, OptionsOfTheSiteGoOverOurs) {
  Machine site = machine();
  site.ssh_options = {"ConnectTimeout=99"};
  const auto words = ssh_words(site, "true");
  // ssh takes the first of each.
  EXPECT_LT(std::ranges::find(words, "ConnectTimeout=99"),
            std::ranges::find(words, "ConnectTimeout=10"));
}

TEST(SshWords, HostKeysAreCheckedWhateverTheSiteSays) {
  Machine site = machine();
  site.ssh_options = {"StrictHostKeyChecking=no", "BatchMode=no"};
  const auto words = ssh_words(site, "true");
  EXPECT_LT(std::ranges::find(words, "StrictHostKeyChecking=yes"),
            std::ranges::find(words, "StrictHostKeyChecking=no"));
  EXPECT_LT(std::ranges::find(words, "BatchMode=yes"), std::ranges::find(words, "BatchMode=no"));
}

TEST(SshWords, KeyAndKnownHostsArePinned) {
  Machine site = machine();
  site.key = "/etc/icbd/key";
  site.known_hosts = "/etc/icbd/known hosts";
  site.port = 2222;
  const auto words = ssh_words(site, "true");
  EXPECT_THAT(words, Contains("/etc/icbd/key"));
  EXPECT_THAT(words, Contains("IdentitiesOnly=yes"));
  EXPECT_THAT(words, Contains("UserKnownHostsFile=\"/etc/icbd/known hosts\""));
  EXPECT_THAT(words, Contains("2222"));
}

TEST(SshWords, SendsAgainstAParentAndPackedWhereThatIsUnderstood) {
  Snapshot first, second;
  first.path = "win11/1";
  second.path = "win11/2 \"b\"";
  EXPECT_EQ(send_command(machine(), first, nullptr, false),
            R"(exec 'btrfs' send -q '/srv/it'\''s $HOME/win11/1')");
  Machine with_sudo = machine();
  with_sudo.remote_command = "sudo  btrfs";
  with_sudo.directory = "/srv/";
  EXPECT_EQ(send_command(with_sudo, second, &first, true),
            "exec 'sudo' 'btrfs' send -q --proto 2 --compressed-data -p '/srv/win11/1' "
            "'/srv/win11/2 \"b\"'");
}

TEST(SshWords, TheScriptsAreOnesThatAShellUnderstands) {
  for (const std::string& command :
       {list_images_command(machine()),
        list_snapshots_command(machine(), std::vector<std::string>{"win11"})}) {
    const auto checked = harness::shell("sh -n -c " + shell_quote(command));
    ASSERT_TRUE(checked);
    EXPECT_EQ(checked->exit_code, 0) << checked->output;
  }
}

}  // namespace
}  // namespace icbd::pull
