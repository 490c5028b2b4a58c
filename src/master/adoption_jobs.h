// Adoptions in the background: asked for by a REST request, kept in the catalog until they are
// done, gone on with after a restart.
//
// Lifecycle: the constructor goes on with what the catalog holds; start() adds to it; find() tells
// how a job goes, also after its end, as long as it is one of the last `jobs_kept` of this process.
// The destructor gives up the snapshot under way, which begins again with the next start.
// Guarantees: thread-safe; one snapshot after the other, in the order asked. One that fails is
// reported and not tried again; those behind it are adopted all the same.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/base/log.h"
#include "icbd/catalog/catalog.h"
#include "icbd/repository/adopt.h"

#include "publish_jobs.h"

namespace icbd::master {

struct AdoptedSnapshot {
  catalog::Adoption adoption;
  // None of the two: not done yet.
  std::optional<catalog::Version> version = {};
  std::optional<Error> error = {};
};

// A job at one moment.
struct AdoptionReport {
  std::string id;
  JobState state = JobState::running;
  std::uint64_t bytes_done = 0;  // of the snapshot under way
  std::uint64_t bytes_total = 0;
  std::vector<AdoptedSnapshot> snapshots;
};

class AdoptionJobs {
 public:
  // What is done with each; repository::adopt but in tests.
  using Adopt = std::function<Result<repository::PublishReport>(const catalog::Adoption&,
                                                                repository::PublishProgress&)>;
  static constexpr std::size_t jobs_kept = 100;
  static constexpr std::string_view id_prefix = "adopt-";

  AdoptionJobs(catalog::Catalog& catalog, Adopt adopt, Logger logger);
  ~AdoptionJobs();
  AdoptionJobs(const AdoptionJobs&) = delete;
  AdoptionJobs& operator=(const AdoptionJobs&) = delete;

  // The job's id; durable when it returns.
  Result<std::string> start(const std::string& image,
                            const std::vector<repository::AdoptionCandidate>& candidates);
  Result<AdoptionReport> find(const std::string& id) const;

 private:
  struct Job;
  // Takes up what is in the catalog and not yet in `jobs_`; with mutex_ held.
  Status load();
  void run();
  void adopt_one(Job& job, std::size_t index, std::unique_lock<std::mutex>& lock);
  // The first snapshot that is not done; with mutex_ held.
  std::optional<std::pair<std::shared_ptr<Job>, std::size_t>> next() const;

  catalog::Catalog& catalog_;
  const Adopt adopt_;
  const Logger logger_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<std::shared_ptr<Job>> jobs_;  // oldest first
  std::uint64_t last_loaded_ = 0;          // the highest id of an adoption that was taken up
  bool stopping_ = false;
  std::shared_ptr<repository::PublishProgress> progress_;  // of the snapshot under way
  std::thread thread_;
};

}  // namespace icbd::master
