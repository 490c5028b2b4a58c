#include "icbd/node/verify_jobs.h"

#include <gtest/gtest.h>

#include <condition_variable>

namespace icbd::node {
namespace {

using nlohmann::json;

// Verifications that end as the test says, when it says so.
class VerifyJobsTest : public ::testing::Test {
 protected:
  VerifyJobsTest() {
    version_.facts.image = "win11";
    version_.facts.number = VersionNumber(3);
  }
  Result<repository::VerifyReport> verify(repository::VerifyProgress& progress) {
    progress.bytes_total = 100;
    progress.bytes_done = 40;
    std::unique_lock lock(mutex_);
    begun_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return outcome_.has_value(); });
    return *outcome_;
  }
  void end(Result<repository::VerifyReport> outcome) {
    {
      const std::lock_guard lock(mutex_);
      outcome_ = std::move(outcome);
    }
    changed_.notify_all();
  }
  json wait_for_end(const std::string& id) {
    while (true) {
      const json job = jobs_.describe(id).value();
      if (job["state"] != "running") return job;
      std::this_thread::yield();
    }
  }

  catalog::Version version_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false;
  std::optional<Result<repository::VerifyReport>> outcome_;
  VerifyJobs jobs_{[this](const catalog::Version&, repository::VerifyProgress& progress) {
                     return verify(progress);
                   },
                   make_silent_logger()};
};

TEST_F(VerifyJobsTest, TellsHowItGoesAndHowItEnded) {
  const std::string id = jobs_.start(version_).value();
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_; });
  }
  const json running = jobs_.describe(id).value();
  EXPECT_EQ(running["state"], "running");
  EXPECT_EQ(running["bytes_done"], 40);
  EXPECT_EQ(running["bytes_total"], 100);
  end(repository::VerifyReport{.bytes = 100, .problems = {"1 names differ"}});
  const json done = wait_for_end(id);
  EXPECT_EQ(done["state"], "done");
  EXPECT_EQ(done["result"]["verified_bytes"], 100);
  EXPECT_EQ(done["result"]["problems"], json({"1 names differ"}));
}

TEST_F(VerifyJobsTest, WhatCannotBeLookedAtHasFailed) {
  end(fail(ErrorCode::not_found, "it is gone"));
  const json job = wait_for_end(jobs_.start(version_).value());
  EXPECT_EQ(job["state"], "failed");
  EXPECT_EQ(job["error"]["message"], "it is gone");
}

TEST_F(VerifyJobsTest, OneAtATime) {
  const std::string first = jobs_.start(version_).value();
  const auto second = jobs_.start(version_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::busy);
  EXPECT_NE(second.error().message().find("win11@3"), std::string::npos);
  end(repository::VerifyReport{});
  wait_for_end(first);
  EXPECT_TRUE(jobs_.start(version_));
}

TEST_F(VerifyJobsTest, AnUnknownJobIsNotFound) {
  EXPECT_EQ(jobs_.describe("v77").error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace icbd::node
