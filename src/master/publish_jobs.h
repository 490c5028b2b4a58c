// Publications as jobs: started by a REST request, asked about by later ones.
//
// Lifecycle: start() runs a publication on a thread of its own; find() tells how it goes, also
// after its end, as long as it is one of the last `jobs_kept`. The destructor cancels the one under
// way and waits until it has cleaned up: a daemon that stops must not take hours for it.
// Guarantees: thread-safe; one publication at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/repository/publish.h"

namespace icbd::master {

enum class JobState { running, done, failed };
std::string_view to_string(JobState state);

// A job at one moment.
struct JobReport {
  std::string id;
  JobState state = JobState::running;
  repository::PublishPhase phase = repository::PublishPhase::preparing;
  std::uint64_t bytes_done = 0;  // of this phase
  std::uint64_t bytes_total = 0;
  // Of the two, what the state calls for.
  std::optional<repository::PublishReport> result;
  std::optional<Error> error;
};

class PublishJobs {
 public:
  // What a job does; repository::publish but in tests.
  using Publish = std::function<Result<repository::PublishReport>(const repository::PublishRequest&,
                                                                  repository::PublishProgress&)>;
  static constexpr std::size_t jobs_kept = 100;

  PublishJobs(Publish publish, Logger logger);
  ~PublishJobs();

  // The job's id. `busy` while another runs, naming it.
  Result<std::string> start(repository::PublishRequest request);
  Result<JobReport> find(const std::string& id) const;

 private:
  struct Job;
  void run(Job& job);
  void finish(Job& job, Result<repository::PublishReport> result);

  const Publish publish_;
  const Logger logger_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<std::shared_ptr<Job>> jobs_;  // oldest first; only the last may be running
  std::uint64_t next_id_ = 1;
  std::thread thread_;  // of the last job
};

}  // namespace icbd::master
