// What the cache's REST interface answers.
#pragma once

#include <string>

#include "icbd/cache/cache.h"
#include "icbd/config/config.h"
#include "icbd/fs/view.h"
#include "icbd/node/verify_jobs.h"
#include "icbd/pull/puller.h"
#include "icbd/replicator/replicator.h"
#include "icbd/repository/repository.h"
#include "icbd/rest/router.h"
#include "icbd/wire/remote_source.h"

namespace icbd::cache {

// What the routes speak of; all of it outlives the server.
struct Subjects {
  repository::Repository& repository;
  replicator::Replicator& replicator;
  wire::RemoteSource* source;  // null if versions come from a machine that runs no icbd;
  pull::Puller* puller;        // then it is this that is not null
  fs::View& view;
  node::VerifyJobs& verifications;
  config::Cache configuration;
  holder::Channel* holder;  // null without one
  unsigned starts;          // of workers before this one
  std::string last_end;
  std::filesystem::path mountpoint;  // as the kernel's table of mounts names it
};

// GET /api/status, /api/jobs/ID, POST /api/upgrade, and the routes of rest/api.h,
// node/verify_jobs.h and wish_routes.h.
rest::Router make_router(const Subjects& subjects);

}  // namespace icbd::cache
