#include "adoption_jobs.h"

#include <fmt/format.h>

#include <algorithm>

namespace icbd::master {

struct AdoptionJobs::Job {
  std::uint64_t number = 0;
  std::vector<AdoptedSnapshot> snapshots;
};

namespace {

std::string id_of(std::uint64_t job) {
  return fmt::format("{}{}", AdoptionJobs::id_prefix, job);
}

bool is_done(const AdoptedSnapshot& snapshot) {
  return snapshot.version || snapshot.error;
}

JobState state_of(const std::vector<AdoptedSnapshot>& snapshots) {
  if (!std::ranges::all_of(snapshots, is_done)) return JobState::running;
  const bool failed = std::ranges::any_of(
      snapshots, [](const AdoptedSnapshot& snapshot) { return snapshot.error.has_value(); });
  return failed ? JobState::failed : JobState::done;
}

}  // namespace

AdoptionJobs::AdoptionJobs(catalog::Catalog& catalog, Adopt adopt, Logger logger)
    : catalog_(catalog), adopt_(std::move(adopt)), logger_(std::move(logger)) {
  const std::lock_guard lock(mutex_);
  if (const Status loaded = load(); !loaded)
    logger_->error("adoptions cannot go on: {}", loaded.error().message());
  thread_ = std::thread([this] { run(); });
}

AdoptionJobs::~AdoptionJobs() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (progress_) progress_->cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::string> AdoptionJobs::start(
    const std::string& image, const std::vector<repository::AdoptionCandidate>& candidates) {
  std::vector<catalog::Adoption> adoptions;
  adoptions.reserve(candidates.size());
  for (const repository::AdoptionCandidate& candidate : candidates)
    adoptions.push_back(
        {.id = 0,
         .job = 0,
         .image = image,
         .place = {.path = candidate.path.string(), .subvolume = candidate.subvolume},
         .uuid = candidate.uuid});
  const std::lock_guard lock(mutex_);
  ICBD_ASSIGN(const std::uint64_t job, catalog_.add_adoptions(adoptions));
  ICBD_TRY(load());
  changed_.notify_all();
  return id_of(job);
}

Status AdoptionJobs::load() {
  ICBD_ASSIGN(const auto adoptions, catalog_.adoptions());
  for (const catalog::Adoption& adoption : adoptions) {
    if (adoption.id <= last_loaded_) continue;
    last_loaded_ = adoption.id;
    if (jobs_.empty() || jobs_.back()->number != adoption.job) {
      jobs_.push_back(std::make_shared<Job>());
      jobs_.back()->number = adoption.job;
    }
    jobs_.back()->snapshots.push_back({.adoption = adoption});
  }
  while (jobs_.size() > jobs_kept && state_of(jobs_.front()->snapshots) != JobState::running)
    jobs_.pop_front();
  return {};
}

std::optional<std::pair<std::shared_ptr<AdoptionJobs::Job>, std::size_t>> AdoptionJobs::next()
    const {
  for (const auto& job : jobs_) {
    const auto waiting = std::ranges::find_if_not(job->snapshots, is_done);
    if (waiting != job->snapshots.end())
      return std::pair(job, static_cast<std::size_t>(waiting - job->snapshots.begin()));
  }
  return std::nullopt;
}

void AdoptionJobs::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (const auto waiting = next())
      adopt_one(*waiting->first, waiting->second, lock);
    else
      changed_.wait(lock);
  }
}

void AdoptionJobs::adopt_one(Job& job, std::size_t index, std::unique_lock<std::mutex>& lock) {
  const catalog::Adoption adoption = job.snapshots[index].adoption;
  const auto progress = std::make_shared<repository::PublishProgress>();
  progress_ = progress;
  lock.unlock();
  auto adopted = adopt_(adoption, *progress);
  const bool given_up = !adopted && adopted.error().code() == ErrorCode::cancelled;
  if (!adopted && !given_up)
    logger_->error("adopting {} failed: {}", adoption.image, adopted.error().message());
  if (!given_up)
    if (const Status removed = catalog_.remove_adoption(adoption.id); !removed)
      logger_->error("{} is done, but will be tried again: {}", adoption.place.path,
                     removed.error().message());
  lock.lock();
  progress_.reset();
  if (adopted)
    job.snapshots[index].version = std::move(adopted->version);
  else
    job.snapshots[index].error = std::move(adopted).error();
}

Result<AdoptionReport> AdoptionJobs::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find_if(jobs_, [&](const auto& job) { return id_of(job->number) == id; });
  if (found == jobs_.end())
    return fail(ErrorCode::not_found, fmt::format("there is no job {}", id));
  AdoptionReport report{.id = id, .snapshots = (*found)->snapshots};
  report.state = state_of(report.snapshots);
  const auto waiting = next();
  if (progress_ && waiting && waiting->first == *found) {
    report.bytes_done = progress_->bytes_done;
    report.bytes_total = progress_->bytes_total;
  }
  return report;
}

}  // namespace icbd::master
