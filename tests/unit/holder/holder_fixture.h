// A holder that runs as a program of its own, with workers that follow scripts (holder_tool.cpp),
// and that are forked from it or executed.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "harness/process.h"
#include "harness/temporary_directory.h"

namespace icbd::holder {

using namespace std::chrono_literals;

enum class Workers { forked, executed };

class HolderTest : public ::testing::TestWithParam<Workers> {
 protected:
  // Of the first worker, the second, … and all further ones.
  void start(std::vector<std::string> scripts, std::vector<std::string> environment = {}) {
    scripts.insert(scripts.begin(), ICBD_HOLDER_TOOL);
    if (GetParam() == Workers::executed) environment.emplace_back("HOLDER_TOOL_EXECUTES=1");
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
  // The one whose turn it is first; then the one that stands by.
  std::vector<pid_t> workers() const {
    const std::string holder = std::to_string(holder_->id());
    std::ifstream children("/proc/" + holder + "/task/" + holder + "/children");
    return {std::istream_iterator<pid_t>(children), {}};
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

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): googletest's own is one.
#define ICBD_WITH_BOTH_KINDS_OF_WORKERS(suite)                          \
  INSTANTIATE_TEST_SUITE_P(                                             \
      Of, suite, ::testing::Values(Workers::forked, Workers::executed), \
      [](const auto& tested) { return tested.param == Workers::forked ? "forked" : "executed"; })

}  // namespace icbd::holder
