#include "publish_jobs.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

namespace icbd::master {
namespace {

// Stands for repository::publish: waits until the test lets it end.
class FakePublish {
 public:
  PublishJobs::Publish function() {
    return
        [this](const repository::PublishRequest& request, repository::PublishProgress& progress) {
          std::unique_lock lock(mutex_);
          progress.bytes_total = 100;
          progress.bytes_done = 40;
          running_ = true;
          changed_.notify_all();
          changed_.wait(lock, [&] { return outcome_.has_value(); });
          running_ = false;
          auto result = std::move(*outcome_);
          outcome_.reset();
          if (result) result->version.facts.image = request.image;
          return result;
        };
  }
  void wait_until_running() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running_; });
  }
  void end(Result<repository::PublishReport> outcome) {
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  std::optional<Result<repository::PublishReport>> outcome_;
};

JobReport wait_until_ended(const PublishJobs& jobs, const std::string& id) {
  while (true) {
    const auto report = jobs.find(id);
    if (report->state != JobState::running) return *report;
    std::this_thread::yield();
  }
}

struct PublishJobsTest : ::testing::Test {
  repository::PublishRequest request(const std::string& image) {
    return {.image = image, .path = "/srv/x", .message = ""};
  }
  FakePublish publish;
  PublishJobs jobs{publish.function(), make_silent_logger()};
};

TEST_F(PublishJobsTest, AJobRunsAndItsResultIsKept) {
  const auto id = jobs.start(request("win11"));
  ASSERT_TRUE(id);
  publish.wait_until_running();
  const auto running = jobs.find(*id);
  ASSERT_TRUE(running);
  EXPECT_EQ(running->state, JobState::running);
  EXPECT_EQ(running->bytes_done, 40u);
  EXPECT_EQ(running->bytes_total, 100u);
  publish.end(repository::PublishReport{
      .version = {}, .bytes_hashed = 5, .bytes_inherited = 6, .warnings = {"w"}});
  const JobReport done = wait_until_ended(jobs, *id);
  EXPECT_EQ(done.state, JobState::done);
  ASSERT_TRUE(done.result);
  EXPECT_EQ(done.result->version.facts.image, "win11");
  EXPECT_EQ(done.result->bytes_hashed, 5u);
}

TEST_F(PublishJobsTest, AFailureIsKeptToo) {
  const auto id = jobs.start(request("win11"));
  publish.end(fail(ErrorCode::invalid_argument, "not a subvolume"));
  const JobReport failed = wait_until_ended(jobs, *id);
  EXPECT_EQ(failed.state, JobState::failed);
  ASSERT_TRUE(failed.error);
  EXPECT_EQ(failed.error->message(), "not a subvolume");
}

TEST_F(PublishJobsTest, ASecondOneIsRefusedNamingTheFirst) {
  const auto first = jobs.start(request("win11"));
  publish.wait_until_running();
  const auto second = jobs.start(request("other"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::busy);
  EXPECT_NE(second.error().message().find("win11"), std::string::npos);
  publish.end(repository::PublishReport{});
  wait_until_ended(jobs, *first);
  EXPECT_TRUE(jobs.start(request("other")));
  publish.end(repository::PublishReport{});
}

TEST_F(PublishJobsTest, OldJobsAreForgotten) {
  for (std::size_t i = 0; i <= PublishJobs::jobs_kept; ++i) {
    publish.end(repository::PublishReport{});
    wait_until_ended(jobs, *jobs.start(request("win11")));
  }
  EXPECT_EQ(jobs.find("1").error().code(), ErrorCode::not_found);
  EXPECT_TRUE(jobs.find("2"));
}

TEST_F(PublishJobsTest, AnUnknownJobIsNotFound) {
  EXPECT_EQ(jobs.find("7").error().code(), ErrorCode::not_found);
}

TEST(PublishJobsEnd, CancelsWhatIsUnderWay) {
  bool cancelled = false;
  {
    PublishJobs jobs(
        [&](const repository::PublishRequest&,
            repository::PublishProgress& progress) -> Result<repository::PublishReport> {
          while (!progress.cancelled) std::this_thread::yield();
          cancelled = true;
          return fail(ErrorCode::cancelled, "given up");
        },
        make_silent_logger());
    ASSERT_TRUE(jobs.start({.image = "win11", .path = "/srv/x", .message = ""}));
  }
  EXPECT_TRUE(cancelled);
}

}  // namespace
}  // namespace icbd::master
