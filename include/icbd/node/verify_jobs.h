// Verifications as jobs: started by a REST request, asked about by later ones.
//
// Lifecycle: start() runs one on a thread of its own; find() tells how it goes, also after its end,
// as long as it is one of the last `jobs_kept`. The destructor gives up the one under way.
// Guarantees: thread-safe; one at a time, because each reads as fast as the disk goes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "icbd/repository/verify.h"
#include "icbd/rest/api.h"

namespace icbd::node {

class VerifyJobs {
 public:
  static constexpr std::string_view id_prefix = "v";
  static constexpr std::size_t jobs_kept = 100;

  // What a job does; repository::verify_version but in tests.
  using Verify = std::function<Result<repository::VerifyReport>(const catalog::Version&,
                                                                repository::VerifyProgress&)>;
  VerifyJobs(Verify verify, Logger logger)
      : verify_(std::move(verify)), logger_(std::move(logger)) {}
  // Of a repository, which must outlive it.
  VerifyJobs(const repository::Repository& repository, Logger logger);
  ~VerifyJobs();

  // The job's id, "v1". `busy` while another runs, naming it.
  Result<std::string> start(catalog::Version version);
  // {"id", "state": "running", "done" or "failed", "bytes_done", "bytes_total", "result" or
  // "error"}
  Result<nlohmann::json> describe(const std::string& id) const;

 private:
  struct Job;
  void run(Job& job);

  const Verify verify_;
  const Logger logger_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::deque<std::shared_ptr<Job>> jobs_;  // oldest first; only the last may be running
  std::uint64_t next_id_ = 1;
  std::thread thread_;  // of the last job
};

// POST /api/images/IMAGE/versions/VERSION/verify
void add_verify_route(rest::Router& router, const rest::CatalogReader& reader, VerifyJobs& jobs);

}  // namespace icbd::node
