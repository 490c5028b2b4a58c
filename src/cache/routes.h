// What the cache's REST interface answers.
#pragma once

#include <string>

#include "icbd/config/config.h"
#include "icbd/replicator/replicator.h"
#include "icbd/repository/repository.h"
#include "icbd/rest/router.h"
#include "icbd/wire/remote_source.h"

namespace icbd::cache {

// What the routes speak of; all of it outlives the server.
struct Subjects {
  repository::Repository& repository;
  replicator::Replicator& replicator;
  wire::RemoteSource& source;
  config::Cache configuration;
};

// GET /api/status, /api/images, /api/images/IMAGE, /api/images/IMAGE/versions/NUMBER.
rest::Router make_router(const Subjects& subjects);

}  // namespace icbd::cache
