// A repository on a BTRFS of its own, beside a subvolume "live" that versions are published from.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/repository/publish.h"
#include "icbd/repository/repository.h"

#include "harness/loop_btrfs.h"
#include "harness/run.h"

namespace icbd::repository {

class RepositoryTest : public harness::BtrfsTest {
 protected:
  void SetUp() override {
    BtrfsTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    std::filesystem::create_directory(directory());
    ASSERT_TRUE(btrfs::create_subvolume(live()));
    logger_ = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
    open();
  }

  std::filesystem::path directory() const { return path() / "repository"; }
  std::filesystem::path live() const { return path() / "live"; }
  std::string log() const { return log_.str(); }

  void open() {
    auto opened = Repository::open(directory(), logger_);
    ASSERT_TRUE(opened) << opened.error().message();
    repository_ = std::move(*opened);
  }
  void reopen() {
    repository_.reset();
    open();
  }

  // Runs a script in the live subvolume; it has to work.
  void in_live(const std::string& script) {
    const auto done = harness::shell_checked(fmt::format("cd '{}'\n{}", live().string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }

  Result<PublishReport> try_publish(const std::string& image, const std::filesystem::path& path,
                                    const std::string& message = "") {
    PublishProgress progress;
    return publish(*repository_, {.image = image, .path = path, .message = message}, progress);
  }
  // Publishes the live subvolume; it has to work.
  PublishReport publish_live(const std::string& image = "disk") {
    auto report = try_publish(image, live());
    EXPECT_TRUE(report) << report.error().message();
    return report ? std::move(*report) : PublishReport{};
  }

  // All entries of a complete version.
  std::vector<manifest::Entry> entries_of(const catalog::Version& version) {
    const auto pages = repository_->pages(version.facts.image, version.facts.number);
    EXPECT_TRUE(pages) << pages.error().message();
    const auto reader = manifest::Reader::open(**pages, version.facts.manifest);
    EXPECT_TRUE(reader) << reader.error().message();
    auto entries = reader->entries();
    EXPECT_TRUE(entries) << entries.error().message();
    return std::move(*entries);
  }

  std::ostringstream log_;
  Logger logger_;
  std::unique_ptr<Repository> repository_;
};

}  // namespace icbd::repository
