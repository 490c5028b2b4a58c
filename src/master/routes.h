// What a master answers over REST beside the catalog routes that it shares with a cache.
#pragma once

#include "icbd/repository/repository.h"
#include "icbd/rest/router.h"
#include "icbd/wire/server.h"

#include "publish_jobs.h"

namespace icbd::master {

// What the routes speak of; all of it must outlive them.
struct Subjects {
  repository::Repository& repository;
  const wire::Server& data_service;
  std::string data_address;
  PublishJobs& jobs;
};

// GET /api/status
void add_status_route(rest::Router& router, const Subjects& subjects);
// POST /api/images/IMAGE/versions, GET /api/jobs/ID
void add_publish_routes(rest::Router& router, PublishJobs& jobs);

}  // namespace icbd::master
