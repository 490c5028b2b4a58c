// What people are told of a machine that runs no icbd, and of what comes from there.
#pragma once

#include <nlohmann/json.hpp>

#include "icbd/config/config.h"
#include "icbd/pull/puller.h"
#include "icbd/replicator/replicator.h"

namespace icbd::cache {

// `source` of /api/status.
nlohmann::json describe_pulling(const pull::Puller& puller, const config::Cache& configuration);

// The replicator knows only what is here: puts in what is there and is to come.
void add_what_is_there(replicator::SubscriptionStatus& status, const pull::Puller& puller);

}  // namespace icbd::cache
