#include "tag_routes.h"

#include "icbd/catalog/names.h"

namespace icbd::master {
namespace {

using nlohmann::json;
using rest::Router;

// {"version": 3}, or a word for one: "latest", another tag.
Result<std::string> read_version(const json& body) {
  const auto found = body.is_object() && body.size() == 1 ? body.find("version") : body.end();
  if (found != body.end() && found->is_number_unsigned())
    return std::to_string(found->get<std::uint64_t>());
  if (found != body.end() && found->is_string()) return found->get<std::string>();
  return fail(ErrorCode::invalid_argument, R"(the request needs a body: {"version": NUMBER})");
}

Result<rest::Response> put_tag(const rest::CatalogReader& reader, catalog::Catalog& catalog,
                               const rest::Request& request, const Router::Parameters& parameters) {
  ICBD_TRY(catalog::check_tag_name(parameters.at("tag")));
  ICBD_ASSIGN(const std::string word, read_version(request.body));
  Router::Parameters wanted = parameters;
  wanted["version"] = word;
  ICBD_ASSIGN(const catalog::Version version, rest::find_version(reader, wanted));
  ICBD_TRY(catalog.set_tag({.image = version.facts.image,
                            .name = parameters.at("tag"),
                            .number = version.facts.number}));
  return rest::Response{.body = {{"image", version.facts.image},
                                 {"tag", parameters.at("tag")},
                                 {"version", version.facts.number.value()}}};
}

}  // namespace

void add_tag_routes(Router& router, const rest::CatalogReader& reader, catalog::Catalog& catalog) {
  router.add(
      "PUT", "/api/images/{image}/tags/{tag}",
      [reader, &catalog](const rest::Request& request, const Router::Parameters& parameters) {
        return put_tag(reader, catalog, request, parameters);
      });
  router.add("DELETE", "/api/images/{image}/tags/{tag}",
             [&catalog](const rest::Request&,
                        const Router::Parameters& parameters) -> Result<rest::Response> {
               ICBD_TRY(catalog.remove_tag(parameters.at("image"), parameters.at("tag")));
               return rest::Response{.body = json::object()};
             });
}

}  // namespace icbd::master
