#include "routes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <optional>

#include "icbd/base/clock.h"
#include "icbd/base/limits.h"
#include "icbd/base/quote.h"
#include "icbd/base/version.h"
#include "icbd/catalog/names.h"
#include "icbd/rest/api.h"

namespace icbd::master {
namespace {

using nlohmann::json;

Result<json> describe_repository(repository::Repository& repository) {
  struct statvfs space{};
  if (fstatvfs(repository.directory_fd(), &space) != 0)
    return fail_errno(fmt::format("statvfs {}", repository.directory().string()));
  return json{{"path", repository.directory().string()},
              {"uuid", repository.catalog().identity().uuid.to_string()},
              {"total_bytes", std::uint64_t{space.f_blocks} * space.f_frsize},
              {"free_bytes", std::uint64_t{space.f_bavail} * space.f_frsize}};
}

json describe_data_service(const Subjects& subjects) {
  const wire::ServerCounters& counters = subjects.data_service.counters();
  return {{"listen", subjects.data_address},
          {"connections", counters.connections.load()},
          {"bytes_sent", counters.bytes_sent.load()},
          {"units_prepared", subjects.data_service.units_prepared()},
          {"units_shared", subjects.data_service.units_shared()},
          {"bytes_received", counters.bytes_received.load()},
          {"requests", counters.requests.load()}};
}

Result<rest::Response> answer_status(const Subjects& subjects) {
  const catalog::Catalog& catalog = subjects.repository.catalog();
  ICBD_ASSIGN(auto repository, describe_repository(subjects.repository));
  ICBD_ASSIGN(const auto images, catalog.images());
  ICBD_ASSIGN(const auto versions, catalog.versions());
  return rest::Response{.body = {{"role", "master"},
                                 {"version", icbd::version()},
                                 {"time", format_utc(SystemClock().wall())},
                                 {"repository", std::move(repository)},
                                 {"data", describe_data_service(subjects)},
                                 {"events", {{"listeners", subjects.events.listeners()}}},
                                 {"recovery", to_json(subjects.repository.recovery_findings())},
                                 {"images", images.size()},
                                 {"versions", versions.size()}}};
}

// A string member of the body; the empty string if it may be missing and is.
Result<std::string> read_member(const json& body, const char* key, bool required) {
  const auto found = body.find(key);
  if (found == body.end() && !required) return std::string();
  if (found == body.end() || !found->is_string())
    return fail(ErrorCode::invalid_argument,
                fmt::format("the request needs \"{}\", a string", key));
  return found->get<std::string>();
}

Result<bool> read_flag(const json& body, const char* key) {
  const auto found = body.find(key);
  if (found == body.end()) return false;
  if (!found->is_boolean())
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" has to be true or false", key));
  return found->get<bool>();
}

struct PublishWish {
  repository::PublishRequest request;
  bool dry_run = false;
};

constexpr std::array publish_members = {"path",           "message", "tags", "boot",
                                        "target",         "format",  "as",   "checksum",
                                        "allow_changing", "dry_run"};

Status check_publish_members(const json& body) {
  if (!body.is_object())
    return fail(ErrorCode::invalid_argument,
                R"(the request needs a body: {"path": "/…", "message": "…"})");
  for (const auto& [key, value] : body.items())
    if (std::ranges::find(publish_members, key) == publish_members.end())
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the request has {}, but only these are known: {}", quote(key),
                              fmt::join(publish_members, ", ")));
  return {};
}

// None if it is not there; the empty path if it is empty.
Result<std::optional<std::filesystem::path>> read_optional_path(const json& body, const char* key) {
  if (!body.contains(key)) return std::nullopt;
  ICBD_ASSIGN(const std::string path, read_member(body, key, true));
  if (path.contains('\0'))
    return fail(ErrorCode::invalid_argument, fmt::format("\"{}\" is no path", key));
  return std::filesystem::path(path);
}

Result<std::vector<std::string>> read_tags(const json& body) {
  std::vector<std::string> tags;
  const auto found = body.find("tags");
  if (found == body.end()) return tags;
  if (!found->is_array())
    return fail(ErrorCode::invalid_argument, "\"tags\" has to be a list of strings");
  for (const json& tag : *found) {
    if (!tag.is_string())
      return fail(ErrorCode::invalid_argument, "\"tags\" has to be a list of strings");
    ICBD_TRY(catalog::check_tag_name(tag.get<std::string>()));
    tags.push_back(tag.get<std::string>());
  }
  return tags;
}

Result<PublishWish> read_publish_wish(const std::string& image, const json& body) {
  ICBD_TRY(catalog::check_image_name(image));
  ICBD_TRY(check_publish_members(body));
  PublishWish wish;
  repository::PublishRequest& request = wish.request;
  request.image = image;
  ICBD_ASSIGN(const std::string path, read_member(body, "path", true));
  if (!path.starts_with('/') || path.contains('\0'))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is not an absolute path on the master", quote(path)));
  request.path = path;
  ICBD_ASSIGN(request.message, read_member(body, "message", false));
  if (request.message.size() > limits::message_length)
    return fail(ErrorCode::too_large, fmt::format("the message has {} bytes, more than the {} "
                                                  "allowed",
                                                  request.message.size(), limits::message_length));
  ICBD_ASSIGN(request.tags, read_tags(body));
  ICBD_ASSIGN(request.boot, read_optional_path(body, "boot"));
  ICBD_ASSIGN(request.target, read_optional_path(body, "target"));
  ICBD_ASSIGN(request.format, read_member(body, "format", false));
  ICBD_ASSIGN(request.disk_name, read_member(body, "as", false));
  ICBD_ASSIGN(request.checksum, read_flag(body, "checksum"));
  ICBD_ASSIGN(request.allow_changing, read_flag(body, "allow_changing"));
  ICBD_ASSIGN(wish.dry_run, read_flag(body, "dry_run"));
  return wish;
}

json describe_plan(const repository::PublishPlan& plan) {
  json description = {{"kind", plan.kind},
                      {"number", plan.number.value()},
                      {"bytes_to_read", plan.bytes_to_read},
                      {"boot_directory", plan.boot_directory},
                      {"target_file", plan.target_file},
                      {"warnings", plan.warnings},
                      {"notes", plan.notes}};
  if (plan.parent) description["parent"] = plan.parent->value();
  if (plan.disk_bytes > 0) description["disk_bytes"] = plan.disk_bytes;
  return description;
}

json describe_job(const JobReport& job) {
  json description = {{"id", job.id},
                      {"state", to_string(job.state)},
                      {"phase", repository::to_string(job.phase)},
                      {"bytes_done", job.bytes_done},
                      {"bytes_total", job.bytes_total}};
  if (job.result)
    description["result"] = {{"version", rest::to_json(job.result->version)},
                             {"kind", job.result->kind},
                             {"bytes_hashed", job.result->bytes_hashed},
                             {"bytes_inherited", job.result->bytes_inherited},
                             {"warnings", job.result->warnings},
                             {"notes", job.result->notes}};
  if (job.error) description["error"] = rest::to_json(*job.error);
  return description;
}

struct AdoptionWish {
  repository::AdoptionRequest request;
  bool dry_run = false;
};

Result<std::vector<std::filesystem::path>> read_paths(const json& body) {
  const auto found = body.find("paths");
  if (found == body.end() || !found->is_array())
    return fail(ErrorCode::invalid_argument, "the request needs \"paths\", a list of strings");
  std::vector<std::filesystem::path> paths;
  for (const json& path : *found) {
    if (!path.is_string() || path.get<std::string>().contains('\0'))
      return fail(ErrorCode::invalid_argument, "\"paths\" has something that is no path");
    paths.emplace_back(path.get<std::string>());
  }
  return paths;
}

Result<AdoptionWish> read_adoption_wish(const std::string& image, const json& body) {
  ICBD_TRY(catalog::check_image_name(image));
  if (!body.is_object())
    return fail(ErrorCode::invalid_argument, R"(the request needs a body: {"paths": ["/…"]})");
  for (const auto& [key, value] : body.items())
    if (key != "paths" && key != "keep_order" && key != "dry_run")
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the request has \"{}\", but only \"paths\", \"keep_order\" and "
                              "\"dry_run\" are known",
                              key));
  AdoptionWish wish;
  wish.request.image = image;
  ICBD_ASSIGN(wish.request.paths, read_paths(body));
  ICBD_ASSIGN(wish.request.keep_order, read_flag(body, "keep_order"));
  ICBD_ASSIGN(wish.dry_run, read_flag(body, "dry_run"));
  return wish;
}

json describe_candidates(const std::vector<repository::AdoptionCandidate>& candidates) {
  json list = json::array();
  for (const repository::AdoptionCandidate& candidate : candidates)
    list.push_back({{"path", candidate.path.string()},
                    {"uuid", candidate.uuid.to_string()},
                    {"created", format_utc(candidate.created)}});
  return list;
}

json describe_adoption_job(const AdoptionReport& job) {
  json snapshots = json::array();
  json first_error;
  for (const AdoptedSnapshot& snapshot : job.snapshots) {
    json description = {{"path", snapshot.adoption.place.path}};
    if (snapshot.version) description["version"] = rest::to_json(*snapshot.version);
    if (snapshot.error) description["error"] = rest::to_json(*snapshot.error);
    if (snapshot.error && first_error.is_null()) first_error = description["error"];
    snapshots.push_back(std::move(description));
  }
  json description = {{"id", job.id},
                      {"state", to_string(job.state)},
                      {"bytes_done", job.bytes_done},
                      {"bytes_total", job.bytes_total},
                      {"snapshots", std::move(snapshots)}};
  if (!first_error.is_null()) description["error"] = std::move(first_error);
  return description;
}

}  // namespace

void add_status_route(rest::Router& router, const Subjects& subjects) {
  router.add("GET", "/api/status",
             [subjects](const rest::Request&, const rest::Router::Parameters&) {
               return answer_status(subjects);
             });
}

void add_publish_routes(rest::Router& router, PublishJobs& jobs, PlanPublication plan) {
  router.add("POST", "/api/images/{image}/versions",
             [&jobs, plan = std::move(plan)](
                 const rest::Request& request,
                 const rest::Router::Parameters& parameters) -> Result<rest::Response> {
               ICBD_ASSIGN(PublishWish wish,
                           read_publish_wish(parameters.at("image"), request.body));
               if (wish.dry_run) {
                 ICBD_ASSIGN(const auto planned, plan(wish.request));
                 return rest::Response{.body = {{"plan", describe_plan(planned)}}};
               }
               constexpr int accepted = 202;
               ICBD_ASSIGN(const std::string id, jobs.start(std::move(wish.request)));
               return rest::Response{accepted, {{"job", id}}};
             });
}

void add_adoption_routes(rest::Router& router, AdoptionJobs& jobs, PlanAdoption plan) {
  router.add("POST", "/api/images/{image}/adoptions",
             [&jobs, plan = std::move(plan)](
                 const rest::Request& request,
                 const rest::Router::Parameters& parameters) -> Result<rest::Response> {
               ICBD_ASSIGN(const AdoptionWish wish,
                           read_adoption_wish(parameters.at("image"), request.body));
               ICBD_ASSIGN(const auto candidates, plan(wish.request));
               constexpr int accepted = 202;
               rest::Response response{.body = {{"snapshots", describe_candidates(candidates)}}};
               if (wish.dry_run) return response;
               response.status = accepted;
               ICBD_ASSIGN(response.body["job"], jobs.start(wish.request.image, candidates));
               return response;
             });
}

void add_job_routes(rest::Router& router, const PublishJobs& publications,
                    const AdoptionJobs& adoptions, const node::VerifyJobs& verifications) {
  router.add("GET", "/api/jobs/{id}",
             [&publications, &adoptions, &verifications](
                 const rest::Request&,
                 const rest::Router::Parameters& parameters) -> Result<rest::Response> {
               const std::string& id = parameters.at("id");
               if (id.starts_with(AdoptionJobs::id_prefix)) {
                 ICBD_ASSIGN(const AdoptionReport job, adoptions.find(id));
                 return rest::Response{.body = describe_adoption_job(job)};
               }
               if (id.starts_with(node::VerifyJobs::id_prefix)) {
                 ICBD_ASSIGN(json job, verifications.describe(id));
                 return rest::Response{.body = std::move(job)};
               }
               ICBD_ASSIGN(const JobReport job, publications.find(id));
               return rest::Response{.body = describe_job(job)};
             });
}

}  // namespace icbd::master
