// A machine that runs sshd and BTRFS and nothing of icbd's; and a repository beside it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "icbd/pull/machine.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"
#include "harness/ssh_server.h"

namespace icbd::pull {

class PullTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto server = harness::SshServer::create();
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
    std::filesystem::create_directory(there_path());
    std::filesystem::create_directory(here_path());
  }

  // Where the images lie on the machine: a name that shells like least.
  std::filesystem::path there_path() const { return path() / "it's \"there\""; }
  std::filesystem::path here_path() const { return path() / "here"; }
  Machine machine() const {
    return {.user = "root",
            .host = "127.0.0.1",
            .port = server_->port(),
            .directory = there_path(),
            .key = server_->key(),
            .known_hosts = server_->known_hosts()};
  }
  // Runs a script in there_path(), with `sh -e -u`.
  void there(const std::string& script) const {
    const auto done = harness::run_checked(
        {"sh", "-e", "-u", "-c", "cd -- \"$1\"\n" + script, "sh", there_path().string()});
    ASSERT_TRUE(done) << done.error().message();
  }

  std::unique_ptr<harness::SshServer> server_;
};

}  // namespace icbd::pull
