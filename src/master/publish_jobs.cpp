#include "publish_jobs.h"

#include <fmt/format.h>

#include <algorithm>

namespace icbd::master {

struct PublishJobs::Job {
  std::string id;
  repository::PublishRequest request;
  repository::PublishProgress progress;
  // Guarded by the mutex of PublishJobs:
  JobState state = JobState::running;
  std::optional<repository::PublishReport> result;
  std::optional<Error> error;
};

std::string_view to_string(JobState state) {
  switch (state) {
    case JobState::running:
      return "running";
    case JobState::done:
      return "done";
    case JobState::failed:
      return "failed";
  }
  return "unknown";
}

PublishJobs::PublishJobs(Publish publish, Logger logger)
    : publish_(std::move(publish)), logger_(std::move(logger)) {}

PublishJobs::~PublishJobs() {
  {
    const std::lock_guard lock(mutex_);
    if (!jobs_.empty()) jobs_.back()->progress.cancelled = true;
  }
  if (thread_.joinable()) thread_.join();
}

Result<std::string> PublishJobs::start(repository::PublishRequest request) {
  const std::lock_guard lock(mutex_);
  if (!jobs_.empty() && jobs_.back()->state == JobState::running)
    return fail(ErrorCode::busy,
                fmt::format("a version of {} is being published (job {}): one at a time",
                            jobs_.back()->request.image, jobs_.back()->id));
  // The last job has let go of the mutex for good: its thread is about to end, if it has not.
  if (thread_.joinable()) thread_.join();
  const auto job = std::make_shared<Job>();
  job->id = std::to_string(next_id_++);
  job->request = std::move(request);
  jobs_.push_back(job);
  if (jobs_.size() > jobs_kept) jobs_.pop_front();
  thread_ = std::thread([this, job] { run(*job); });
  return job->id;
}

void PublishJobs::run(Job& job) {
  logger_->info("publishing {} as a version of {} (job {})", job.request.path.string(),
                job.request.image, job.id);
  finish(job, publish_(job.request, job.progress));
}

void PublishJobs::finish(Job& job, Result<repository::PublishReport> result) {
  // A success is logged by the repository.
  if (!result)
    logger_->warn("publishing {} failed: {}", job.request.image, result.error().message());
  const std::lock_guard lock(mutex_);
  job.state = result ? JobState::done : JobState::failed;
  if (result)
    job.result = std::move(*result);
  else
    job.error = std::move(result).error();
}

Result<JobReport> PublishJobs::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find(jobs_, id, [](const auto& job) -> const std::string& { return job->id; });
  if (found == jobs_.end())
    return fail(ErrorCode::not_found, fmt::format("there is no job {}", id));
  const Job& job = **found;
  return JobReport{.id = job.id,
                   .state = job.state,
                   .phase = job.progress.phase,
                   .bytes_done = job.progress.bytes_done,
                   .bytes_total = job.progress.bytes_total,
                   .result = job.result,
                   .error = job.error};
}

}  // namespace icbd::master
