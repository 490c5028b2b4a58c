// What a master answers over REST beside the catalog routes that it shares with a cache.
#pragma once

#include <functional>
#include <vector>

#include "icbd/node/verify_jobs.h"
#include "icbd/repository/adopt.h"
#include "icbd/repository/repository.h"
#include "icbd/rest/router.h"
#include "icbd/wire/server.h"

#include "adoption_jobs.h"
#include "publish_jobs.h"

namespace icbd::master {

// What the routes speak of; all of it must outlive them.
struct Subjects {
  repository::Repository& repository;
  const wire::Server& data_service;
  std::string data_address;
  PublishJobs& jobs;
  const rest::EventHub& events;
};

// GET /api/status
void add_status_route(rest::Router& router, const Subjects& subjects);
// What would be published: repository::plan_publication but in tests.
using PlanPublication =
    std::function<Result<repository::PublishPlan>(const repository::PublishRequest&)>;
// POST /api/images/IMAGE/versions
void add_publish_routes(rest::Router& router, PublishJobs& jobs, PlanPublication plan);

// What would be adopted: repository::plan_adoption but in tests.
using PlanAdoption = std::function<Result<std::vector<repository::AdoptionCandidate>>(
    const repository::AdoptionRequest&)>;
// POST /api/images/IMAGE/adoptions
void add_adoption_routes(rest::Router& router, AdoptionJobs& jobs, PlanAdoption plan);

// GET /api/jobs/ID, of every kind
void add_job_routes(rest::Router& router, const PublishJobs& publications,
                    const AdoptionJobs& adoptions, const node::VerifyJobs& verifications);

}  // namespace icbd::master
