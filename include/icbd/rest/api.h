// The parts of the REST interface that master and cache share.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "icbd/base/error.h"
#include "icbd/catalog/catalog.h"
#include "icbd/rest/router.h"

namespace icbd::rest {

nlohmann::json to_json(const catalog::Version& version);
// {"code": "not_found", "message": "…"}
nlohmann::json to_json(const Error& error);

// Where the shared routes read from. Called on the server's threads.
struct CatalogReader {
  std::function<Result<std::vector<std::string>>()> images;
  std::function<Result<std::vector<catalog::Tag>>()> tags;
  std::function<Result<std::vector<catalog::Version>>(const std::string& image)> versions;
  // Adds to a version's JSON what only this node knows, as "progress" while it arrives. May be
  // empty.
  std::function<void(const catalog::Version&, nlohmann::json&)> extend;
};
// Reads straight from a catalog, which must outlive the reader.
CatalogReader read_catalog(catalog::Catalog& catalog);

// What {image} and {version} of a path stand for.
Result<catalog::Version> find_version(const CatalogReader& reader,
                                      const Router::Parameters& parameters);

// The answer that describes it, tags and what the node adds included.
Result<Response> show_version(const CatalogReader& reader, const Router::Parameters& parameters);

// From now on, every change of the catalog is announced as "catalog", with its repository, its
// epoch and the change number; at once where it stands. The hub must outlive the catalog's last
// change. `also` is called first, with each change and at once, under the catalog's lock.
Status announce_changes(catalog::Catalog& catalog, EventHub& hub,
                        const std::function<void()>& also = {});
// Where the catalog stands, once more: for a node that shows what it knows of its catalog, and
// knows more now. Who asks when it hears of a change would not have seen it otherwise.
Status announce_again(catalog::Catalog& catalog, EventHub& hub);

// GET /api/images, /api/images/IMAGE, /api/images/IMAGE/versions/VERSION, where VERSION is a
// number, "latest", "current" or a tag; GET /api/events.
void add_catalog_routes(Router& router, const CatalogReader& reader);

}  // namespace icbd::rest
