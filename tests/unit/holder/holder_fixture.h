// A holder that runs as a program of its own, with workers that follow scripts (holder_tool.cpp).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "harness/process.h"
#include "harness/temporary_directory.h"

namespace icbd::holder {

using namespace std::chrono_literals;

class HolderTest : public ::testing::Test {
 protected:
  // Of the first worker, the second, … and all further ones.
  void start(std::vector<std::string> scripts, std::vector<std::string> environment = {}) {
    scripts.insert(scripts.begin(), ICBD_HOLDER_TOOL);
    auto started = harness::Process::start(
        scripts,
        {.log_directory = folder_.path(), .name = "holder", .environment = std::move(environment)});
    ASSERT_TRUE(started) << started.error().message();
    holder_ = std::move(*started);
  }
  void wait_for(const std::string& line) {
    const auto said = holder_->wait_for_line(line, 30s);
    ASSERT_TRUE(said) << said.error().message();
  }
  // The holder's exit code, when it ends by itself.
  int end() {
    const auto code = holder_->wait_for_exit(60s);
    EXPECT_TRUE(code) << holder_->output() << holder_->error_output();
    return code.value_or(-1);
  }
  int stop() {
    EXPECT_TRUE(holder_->signal(SIGTERM));
    return end();
  }
  bool was_said(const std::string& text) const {
    return holder_->output().find(text) != std::string::npos;
  }
  bool was_logged(const std::string& text) const {
    return holder_->error_output().find(text) != std::string::npos;
  }

  harness::TemporaryDirectory folder_ = harness::TemporaryDirectory::create().value();
  std::unique_ptr<harness::Process> holder_;
};

}  // namespace icbd::holder
