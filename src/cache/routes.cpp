#include "routes.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "icbd/btrfs/space.h"
#include "icbd/rest/api.h"

namespace icbd::cache {
namespace {

using nlohmann::json;

json to_json(const replicator::ArrivalProgress& progress) {
  json object{{"phase", replicator::to_string(progress.phase)},
              {"bytes_total", progress.bytes_total},
              {"bytes_done", progress.bytes_done},
              {"bytes_pending", progress.bytes_pending},
              {"bytes_fetched", progress.bytes_fetched},
              {"bytes_shared", progress.bytes_shared},
              {"rate_bytes_per_second", progress.rate_bytes_per_second},
              {"eta_seconds", nullptr},
              {"waiting_readers", progress.waiting_readers},
              {"filling", progress.filling},
              {"failure", nullptr}};
  if (!progress.failure.empty()) object["failure"] = progress.failure;
  if (progress.filling && progress.rate_bytes_per_second != 0)
    object["eta_seconds"] = progress.bytes_pending / progress.rate_bytes_per_second;
  return object;
}

rest::CatalogReader reader_of(const Subjects& subjects) {
  replicator::Replicator& replicator = subjects.replicator;
  return {
      .images = [&replicator]() -> Result<std::vector<std::string>> {
        return replicator.versions()->images;
      },
      .tags = [&replicator]() -> Result<std::vector<catalog::Tag>> {
        return replicator.versions()->tags;
      },
      .versions = [&replicator](const std::string& image) -> Result<std::vector<catalog::Version>> {
        const auto table = replicator.versions();
        if (!std::binary_search(table->images.begin(), table->images.end(), image))
          return fail(ErrorCode::not_found, "no image is called \"" + image + "\"");
        std::vector<catalog::Version> versions;
        std::copy_if(table->versions.begin(), table->versions.end(), std::back_inserter(versions),
                     [&](const catalog::Version& version) { return version.facts.image == image; });
        return versions;
      },
      .extend =
          [&replicator](const catalog::Version& version, json& object) {
            for (const auto& [arriving, progress] : replicator.arriving())
              if (arriving.serial == version.serial) object["progress"] = to_json(progress);
          }};
}

Result<json> describe_repository(repository::Repository& repository) {
  struct statvfs space{};
  if (::fstatvfs(repository.directory_fd(), &space) != 0)
    return fail_errno("statvfs " + repository.directory().string());
  ICBD_ASSIGN(const btrfs::Allocation allocation, btrfs::allocation(repository.directory_fd()));
  return json{{"path", repository.directory().string()},
              {"uuid", repository.catalog().identity().uuid.to_string()},
              {"total_bytes", std::uint64_t{space.f_blocks} * space.f_frsize},
              {"free_bytes", std::uint64_t{space.f_bavail} * space.f_frsize},
              {"unallocated_bytes", allocation.unallocated}};
}

json describe_master(const Subjects& subjects) {
  const replicator::SourceStatus status = subjects.replicator.source_status();
  json object{{"address", subjects.configuration.master_data},
              {"reachable", status.reachable},
              {"announcing", status.announcing},
              {"offline", status.offline},
              {"uuid", nullptr},
              {"error", nullptr},
              {"warning", nullptr},
              {"conflicts", status.conflicts}};
  if (status.repository) object["uuid"] = status.repository->to_string();
  if (!status.error.empty()) object["error"] = status.error;
  if (!status.warning.empty()) object["warning"] = status.warning;
  return object;
}

json count_states(const replicator::VersionTable& table) {
  json counts{{"remote", 0}, {"arriving", 0}, {"complete", 0}};
  for (const catalog::Version& version : table.versions) {
    json& count = counts[std::string(catalog::to_string(version.state))];
    count = count.get<int>() + 1;
  }
  return counts;
}

Result<rest::Response> answer_status(const Subjects& subjects) {
  const auto table = subjects.replicator.versions();
  ICBD_ASSIGN(json repository, describe_repository(subjects.repository));
  json arriving = json::array();
  for (const auto& [version, progress] : subjects.replicator.arriving()) {
    json object = rest::to_json(version);
    object["state"] = "arriving";
    object["progress"] = to_json(progress);
    arriving.push_back(std::move(object));
  }
  json refused = json::array();
  for (const replicator::Refusal& refusal : subjects.replicator.refusals())
    refused.push_back({{"image", refusal.version.facts.image},
                       {"version", refusal.version.facts.number.value()},
                       {"reason", refusal.error.message()}});
  return rest::Response{
      .body = {{"role", "cache"},
               {"version", ICBD_VERSION},
               {"repository", std::move(repository)},
               {"master", describe_master(subjects)},
               {"view", {{"mountpoint", subjects.configuration.mountpoint.string()}}},
               {"wire",
                {{"bytes_sent", subjects.source.bytes_sent()},
                 {"bytes_received", subjects.source.bytes_received()}}},
               {"images", table->images.size()},
               {"versions", count_states(*table)},
               {"arriving", std::move(arriving)},
               {"refused", std::move(refused)},
               {"recovery", to_json(subjects.repository.recovery_findings())}}};
}

}  // namespace

rest::Router make_router(const Subjects& subjects) {
  rest::Router router;
  rest::add_catalog_routes(router, reader_of(subjects));
  router.add("GET", "/api/status",
             [subjects](const rest::Request&, const rest::Router::Parameters&) {
               return answer_status(subjects);
             });
  return router;
}

}  // namespace icbd::cache
