// What people wish of a cache: pulls, drops, pins, subscriptions; and what holds versions here.
#pragma once

#include "icbd/rest/api.h"

#include "routes.h"

namespace icbd::cache {

// POST …/versions/VERSION/pull and unpull, DELETE …/versions/VERSION, PUT and DELETE …/pin,
// GET /api/holds, GET /api/subscriptions, PUT and DELETE /api/subscriptions/IMAGE.
void add_wish_routes(rest::Router& router, const rest::CatalogReader& reader,
                     const Subjects& subjects);

// "win11@3"
std::string name_of(const catalog::Version& version);
// Everything that holds the version here: the replicator's reasons, what is pulled against it, and
// open files.
std::vector<replicator::Hold> holds_of(const Subjects& subjects, VersionSerial serial);
nlohmann::json to_json(const replicator::Hold& hold);
nlohmann::json describe_subscriptions(const Subjects& subjects);

}  // namespace icbd::cache
