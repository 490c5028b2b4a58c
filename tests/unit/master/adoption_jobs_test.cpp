#include "adoption_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "harness/temporary_directory.h"

namespace icbd::master {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AdoptionJobsTest : public ::testing::Test {
 protected:
  void open(AdoptionJobs::Adopt adopt) {
    catalog_ = catalog::Catalog::open(directory_.path() / "catalog").value();
    jobs_ = std::make_unique<AdoptionJobs>(*catalog_, std::move(adopt), make_silent_logger());
  }
  void close() {
    jobs_.reset();
    catalog_.reset();
  }
  static std::vector<repository::AdoptionCandidate> candidates(
      const std::vector<std::string>& paths) {
    std::vector<repository::AdoptionCandidate> list;
    for (const std::string& path : paths)
      list.push_back({.path = path, .subvolume = {}, .uuid = Uuid::random(), .created = {}});
    return list;
  }
  AdoptionReport finished(const std::string& id) {
    while (true) {
      auto report = jobs_->find(id);
      EXPECT_TRUE(report) << report.error().message();
      if (!report || report->state != JobState::running) return report.value_or(AdoptionReport{});
      std::this_thread::yield();
    }
  }
  // Adopts at once, and remembers what.
  AdoptionJobs::Adopt at_once() {
    return [this](const catalog::Adoption& adoption,
                  repository::PublishProgress&) -> Result<repository::PublishReport> {
      adopted_.push_back(adoption.place.path);
      if (adoption.place.path == "/bad") return fail(ErrorCode::corrupt, "it is bad");
      return repository::PublishReport{};
    };
  }

  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<AdoptionJobs> jobs_;
  std::vector<std::string> adopted_;  // by the jobs' thread, until they are finished
};

TEST_F(AdoptionJobsTest, AdoptsInOrderAndGoesOnPastAFailure) {
  open(at_once());
  const std::string id = jobs_->start("disk", candidates({"/a", "/bad", "/c"})).value();
  const AdoptionReport report = finished(id);
  EXPECT_EQ(report.state, JobState::failed);
  EXPECT_THAT(adopted_, ElementsAre("/a", "/bad", "/c"));
  EXPECT_TRUE(report.snapshots[0].version);
  EXPECT_EQ(report.snapshots[1].error->message(), "it is bad");
  EXPECT_TRUE(report.snapshots[2].version);
  EXPECT_THAT(catalog_->adoptions().value(), IsEmpty());
}

TEST_F(AdoptionJobsTest, GoesOnAfterARestartWithTheOneThatWasUnderWay) {
  std::promise<void> begun;
  open([&](const catalog::Adoption& adoption,
           repository::PublishProgress& progress) -> Result<repository::PublishReport> {
    if (adoption.place.path == "/a") return repository::PublishReport{};
    begun.set_value();
    while (!progress.cancelled) std::this_thread::yield();
    return fail(ErrorCode::cancelled, "it is not wanted any more");
  });
  const std::string id = jobs_->start("disk", candidates({"/a", "/b", "/c"})).value();
  begun.get_future().wait();
  EXPECT_EQ(jobs_->find(id)->state, JobState::running);
  close();
  open(at_once());
  EXPECT_EQ(finished(id).state, JobState::done);
  EXPECT_THAT(adopted_, ElementsAre("/b", "/c"));
  close();
  open(at_once());
  EXPECT_EQ(jobs_->find(id).error().code(), ErrorCode::not_found);
}

TEST_F(AdoptionJobsTest, TellsHowFarTheOneUnderWayIs) {
  std::promise<void> begun, go_on;
  open([&](const catalog::Adoption&,
           repository::PublishProgress& progress) -> Result<repository::PublishReport> {
    progress.bytes_total = 10;
    progress.bytes_done = 4;
    begun.set_value();
    go_on.get_future().wait();
    return repository::PublishReport{};
  });
  const std::string id = jobs_->start("disk", candidates({"/a"})).value();
  begun.get_future().wait();
  const auto report = jobs_->find(id);
  EXPECT_EQ(report->bytes_done, 4u);
  EXPECT_EQ(report->bytes_total, 10u);
  go_on.set_value();
  EXPECT_EQ(finished(id).state, JobState::done);
}

}  // namespace
}  // namespace icbd::master
