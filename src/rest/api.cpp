#include "icbd/rest/api.h"

#include <fmt/format.h>

#include <algorithm>

#include "icbd/base/clock.h"
#include "icbd/catalog/find_version.h"

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

json tags_of(std::span<const catalog::Tag> tags, const std::string& image) {
  json object = json::object();
  for (const catalog::Tag& tag : tags)
    if (tag.image == image) object[tag.name] = tag.number.value();
  return object;
}

json describe(const CatalogReader& reader, const catalog::Version& version,
              std::span<const catalog::Tag> tags) {
  json description = to_json(version);
  description["tags"] = json::array();
  for (const catalog::Tag& tag : tags)
    if (tag.image == version.facts.image && tag.number == version.facts.number)
      description["tags"].push_back(tag.name);
  if (reader.extend) reader.extend(version, description);
  return description;
}

Result<Response> list_images(const CatalogReader& reader) {
  ICBD_ASSIGN(const auto images, reader.images());
  ICBD_ASSIGN(const auto tags, reader.tags());
  json list = json::array();
  for (const std::string& image : images) {
    ICBD_ASSIGN(const auto versions, reader.versions(image));
    json latest;
    if (!versions.empty()) latest = versions.back().facts.number.value();
    list.push_back({{"name", image},
                    {"versions", versions.size()},
                    {"latest", latest},
                    {"tags", tags_of(tags, image)}});
  }
  return Response{.body = {{"images", std::move(list)}}};
}

Result<Response> list_versions(const CatalogReader& reader, const std::string& image) {
  ICBD_ASSIGN(const auto versions, versions_of(reader, image));
  ICBD_ASSIGN(const auto tags, reader.tags());
  json list = json::array();
  for (const catalog::Version& version : versions) list.push_back(describe(reader, version, tags));
  return Response{
      .body = {{"name", image}, {"tags", tags_of(tags, image)}, {"versions", std::move(list)}}};
}

void announce(const catalog::NodeIdentity& identity, std::uint64_t change_number, EventHub& hub) {
  hub.announce({.name = "catalog",
                .data = {{"repository", identity.uuid.to_string()},
                         {"epoch", identity.epoch.to_string()},
                         {"change", change_number}}});
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
          .tags = [&catalog] { return catalog.tags(); },
          .versions = [&catalog](const std::string& image) { return catalog.versions(image); },
          .extend = {}};
}

Result<catalog::Version> find_version(const CatalogReader& reader,
                                      const Router::Parameters& parameters) {
  const std::string& image = parameters.at("image");
  ICBD_ASSIGN(const auto versions, versions_of(reader, image));
  ICBD_ASSIGN(const auto tags, reader.tags());
  ICBD_ASSIGN(const catalog::Version* version,
              catalog::find_version(versions, tags, image, parameters.at("version")));
  return *version;
}

Result<Response> show_version(const CatalogReader& reader, const Router::Parameters& parameters) {
  ICBD_ASSIGN(const catalog::Version version, find_version(reader, parameters));
  ICBD_ASSIGN(const auto tags, reader.tags());
  return Response{.body = describe(reader, version, tags)};
}

Status announce_changes(catalog::Catalog& catalog, EventHub& hub,
                        const std::function<void()>& also) {
  catalog.set_observer([&hub, identity = catalog.identity(), also](std::uint64_t change_number) {
    if (also) also();
    announce(identity, change_number, hub);
  });
  if (also) also();
  return announce_again(catalog, hub);
}

Status announce_again(catalog::Catalog& catalog, EventHub& hub) {
  // Until nothing has changed meanwhile: what is announced last must not be behind what was
  // announced before, because it takes its place.
  for (;;) {
    ICBD_ASSIGN(const std::uint64_t before, catalog.change_number());
    announce(catalog.identity(), before, hub);
    ICBD_ASSIGN(const std::uint64_t after, catalog.change_number());
    if (after == before) return {};
  }
}

void add_catalog_routes(Router& router, const CatalogReader& reader) {
  router.add("GET", "/api/events",
             [](const Request&, const Router::Parameters&) -> Result<Response> {
               return Response{.events = true};
             });
  router.add("GET", "/api/images",
             [reader](const Request&, const Router::Parameters&) { return list_images(reader); });
  router.add("GET", "/api/images/{image}",
             [reader](const Request&, const Router::Parameters& parameters) {
               return list_versions(reader, parameters.at("image"));
             });
  router.add("GET", "/api/images/{image}/versions/{version}",
             [reader](const Request&, const Router::Parameters& parameters) {
               return show_version(reader, parameters);
             });
}

}  // namespace icbd::rest
