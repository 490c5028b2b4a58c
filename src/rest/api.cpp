#include "icbd/rest/api.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/clock.h"
#include "icbd/catalog/names.h"

namespace icbd::rest {
namespace {

using nlohmann::json;

// The image's versions by number; not_found if there is no such image.
Result<std::vector<catalog::Version>> versions_of(const CatalogReader& reader,
                                                  const std::string& image) {
  ICBD_ASSIGN(const auto images, reader.images());
  if (std::ranges::find(images, image) == images.end())
    return fail(ErrorCode::not_found, fmt::format("there is no image {}", image));
  return reader.versions(image);
}

json describe(const CatalogReader& reader, const catalog::Version& version) {
  json description = to_json(version);
  if (reader.extend) reader.extend(version, description);
  return description;
}

Result<Response> list_images(const CatalogReader& reader) {
  ICBD_ASSIGN(const auto images, reader.images());
  json list = json::array();
  for (const std::string& image : images) {
    ICBD_ASSIGN(const auto versions, reader.versions(image));
    json latest;
    if (!versions.empty()) latest = versions.back().facts.number.value();
    list.push_back({{"name", image}, {"versions", versions.size()}, {"latest", latest}});
  }
  return Response{.body = {{"images", std::move(list)}}};
}

Result<Response> list_versions(const CatalogReader& reader, const std::string& image) {
  ICBD_ASSIGN(const auto versions, versions_of(reader, image));
  json list = json::array();
  for (const catalog::Version& version : versions) list.push_back(describe(reader, version));
  return Response{.body = {{"name", image}, {"versions", std::move(list)}}};
}

Result<Response> show_version(const CatalogReader& reader, const std::string& image,
                              const std::string& which) {
  ICBD_ASSIGN(const auto versions, versions_of(reader, image));
  if (which == "latest") {
    if (versions.empty())
      return fail(ErrorCode::not_found, fmt::format("image {} has no version yet", image));
    return Response{.body = describe(reader, versions.back())};
  }
  ICBD_ASSIGN(const VersionNumber number, catalog::parse_version_number(which));
  const auto found = std::ranges::find(
      versions, number, [](const catalog::Version& version) { return version.facts.number; });
  if (found == versions.end())
    return fail(ErrorCode::not_found, fmt::format("there is no version {}@{}", image, which));
  return Response{.body = describe(reader, *found)};
}

}  // namespace

json to_json(const catalog::Version& version) {
  const catalog::VersionFacts& facts = version.facts;
  json parent;
  if (facts.parent) parent = facts.parent->value();
  json description = {{"image", facts.image},
                      {"number", facts.number.value()},
                      {"uuid", facts.uuid.to_string()},
                      {"manifest", facts.manifest.to_string()},
                      {"state", catalog::to_string(version.state)},
                      {"parent", parent},
                      {"message", facts.message},
                      {"published", format_utc(facts.published)},
                      {"entries", facts.entries},
                      {"file_bytes", facts.file_bytes},
                      {"data_bytes", facts.data_bytes}};
  if (!facts.boot_directory.empty()) description["boot_directory"] = facts.boot_directory;
  if (!facts.target_file.empty()) description["target_file"] = facts.target_file;
  if (version.pulled) description["pulled"] = true;
  if (version.pin)
    description["pin"] = {{"reason", version.pin->reason},
                          {"since", format_utc(version.pin->since)}};
  return description;
}

json to_json(const Error& error) {
  return {{"code", to_string(error.code())}, {"message", error.message()}};
}

CatalogReader read_catalog(catalog::Catalog& catalog) {
  return {.images = [&catalog] { return catalog.images(); },
          .versions = [&catalog](const std::string& image) { return catalog.versions(image); },
          .extend = {}};
}

void add_catalog_routes(Router& router, const CatalogReader& reader) {
  router.add("GET", "/api/images",
             [reader](const Request&, const Router::Parameters&) { return list_images(reader); });
  router.add("GET", "/api/images/{image}",
             [reader](const Request&, const Router::Parameters& parameters) {
               return list_versions(reader, parameters.at("image"));
             });
  router.add("GET", "/api/images/{image}/versions/{version}",
             [reader](const Request&, const Router::Parameters& parameters) {
               return show_version(reader, parameters.at("image"), parameters.at("version"));
             });
}

}  // namespace icbd::rest
