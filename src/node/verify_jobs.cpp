#include "icbd/node/verify_jobs.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/this_thread.h"

namespace icbd::node {

using nlohmann::json;

struct VerifyJobs::Job {
  std::string id;
  catalog::Version version;
  repository::VerifyProgress progress;
  std::optional<Result<repository::VerifyReport>> outcome;  // guarded by the jobs' mutex
};

VerifyJobs::VerifyJobs(const repository::Repository& repository, Logger logger)
    : VerifyJobs(
          [&repository](const catalog::Version& version, repository::VerifyProgress& progress) {
            return repository::verify_version(repository, version, progress);
          },
          std::move(logger)) {}

VerifyJobs::~VerifyJobs() {
  {
    const std::lock_guard lock(mutex_);
    if (!jobs_.empty()) jobs_.back()->progress.cancelled = true;
  }
  if (thread_.joinable()) thread_.join();
}

Result<std::string> VerifyJobs::start(catalog::Version version) {
  const std::lock_guard lock(mutex_);
  if (!jobs_.empty() && !jobs_.back()->outcome)
    return fail(ErrorCode::busy,
                fmt::format("{}@{} is being verified (job {}); try again when that is done",
                            jobs_.back()->version.facts.image,
                            jobs_.back()->version.facts.number.value(), jobs_.back()->id));
  if (thread_.joinable()) thread_.join();  // it has ended but for its last line
  auto job = std::make_shared<Job>();
  job->id = fmt::format("{}{}", id_prefix, next_id_++);
  job->version = std::move(version);
  jobs_.push_back(job);
  if (jobs_.size() > jobs_kept) jobs_.pop_front();
  thread_ = std::thread([this, job] { run(*job); });
  return job->id;
}

void VerifyJobs::run(Job& job) {
  work_in_background();
  auto outcome = verify_(job.version, job.progress);
  const std::string name =
      fmt::format("{}@{}", job.version.facts.image, job.version.facts.number.value());
  if (!outcome)
    logger_->error("{} could not be verified: {}", name, outcome.error().message());
  else if (outcome->problems.empty())
    logger_->info("{} is what its manifest says ({} bytes)", name, outcome->bytes);
  else
    for (const std::string& problem : outcome->problems) logger_->error("{}: {}", name, problem);
  const std::lock_guard lock(mutex_);
  job.outcome = std::move(outcome);
}

Result<json> VerifyJobs::describe(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(jobs_, [&](const auto& job) { return job->id == id; });
  if (found == jobs_.end())
    return fail(ErrorCode::not_found, fmt::format("there is no job {}", id));
  const Job& job = **found;
  json description = {{"id", job.id},
                      {"state", "running"},
                      {"bytes_done", job.progress.bytes_done.load()},
                      {"bytes_total", job.progress.bytes_total.load()}};
  if (!job.outcome) return description;
  if (!*job.outcome) {
    description["state"] = "failed";
    description["error"] = rest::to_json(job.outcome->error());
  } else {
    description["state"] = "done";
    description["result"] = {{"verified_bytes", (*job.outcome)->bytes},
                             {"problems", (*job.outcome)->problems}};
  }
  return description;
}

void add_verify_route(rest::Router& router, const rest::CatalogReader& reader, VerifyJobs& jobs) {
  router.add("POST", "/api/images/{image}/versions/{version}/verify",
             [reader, &jobs](const rest::Request&,
                             const rest::Router::Parameters& parameters) -> Result<rest::Response> {
               constexpr int accepted = 202;
               ICBD_ASSIGN(auto version, rest::find_version(reader, parameters));
               ICBD_ASSIGN(const std::string id, jobs.start(std::move(version)));
               return rest::Response{accepted, {{"job", id}}};
             });
}

}  // namespace icbd::node
