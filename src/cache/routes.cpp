#include "routes.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "icbd/base/clock.h"
#include "icbd/base/service_manager.h"
#include "icbd/base/version.h"
#include "icbd/btrfs/space.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/fs/mount_table.h"
#include "icbd/rest/api.h"

#include "pull_status.h"
#include "wish_routes.h"

namespace icbd::cache {
namespace {

using nlohmann::json;

constexpr int accepted = 202;
constexpr std::string_view program_name = "icbd-cache";

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
  if (!progress.transfer_why.empty()) {
    object["transfer"] = replicator::to_string(progress.transfer);
    object["transfer_why"] = progress.transfer_why;
  }
  if (!progress.failure.empty()) object["failure"] = progress.failure;
  if (progress.filling && progress.rate_bytes_per_second != 0)
    object["eta_seconds"] = progress.bytes_pending / progress.rate_bytes_per_second;
  return object;
}

// Only if there is one: most remote versions are not here because nobody wants them.
void add_obstacle(const Subjects& subjects, const catalog::Version& version, json& object) {
  std::string obstacle = subjects.puller != nullptr ? subjects.puller->obstacle(version)
                                                    : subjects.replicator.obstacle(version.serial);
  if (!obstacle.empty()) object["obstacle"] = std::move(obstacle);
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
        const auto versions = table->of(image);
        return std::vector(versions.begin(), versions.end());
      },
      .extend =
          [subjects](const catalog::Version& version, json& object) {
            if (version.state == catalog::VersionState::remote)
              return add_obstacle(subjects, version, object);
            json holds = json::array();
            for (const replicator::Hold& hold : holds_of(subjects, version.serial))
              holds.push_back(cache::to_json(hold));
            object["holds"] = std::move(holds);
            if (version.state != catalog::VersionState::arriving) return;
            for (const auto& [arriving, progress] : subjects.replicator.arriving())
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
  if (subjects.puller != nullptr) return nullptr;
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

json describe_wire(const Subjects& subjects) {
  if (subjects.source == nullptr)
    return {{"bytes_sent", 0},
            {"bytes_received", subjects.puller->status().bytes_received},
            {"bytes_unpacked", 0},
            {"packing", ""}};
  const wire::RemoteSource& source = *subjects.source;
  return {{"bytes_sent", source.bytes_sent()},
          {"bytes_received", source.bytes_received()},
          {"bytes_unpacked", source.bytes_unpacked()},
          {"packing", source.packing()}};
}

json count_states(const replicator::VersionTable& table) {
  json counts{{"remote", 0}, {"arriving", 0}, {"complete", 0}};
  for (const catalog::Version& version : table.versions) {
    json& count = counts[std::string(catalog::to_string(version.state))];
    count = count.get<int>() + 1;
  }
  return counts;
}

json to_json(const fs::Features& features) {
  return {{"passthrough", features.passthrough},
          {"resend", features.resend},
          {"directory_cache", features.directory_cache},
          {"readdirplus", features.readdirplus}};
}

// Where a file of a version lies in it; its inode if that cannot be told.
std::string path_of(const Subjects& subjects, const catalog::Version& version, InodeNumber inode) {
  const auto opened = subjects.replicator.opened(version.serial);
  if (!opened) return fmt::format("inode {}", inode.value());
  const replicator::Staging& subvolume =
      opened->arrival ? opened->arrival->content().staging() : *opened->complete;
  const auto path = btrfs::path_of_inode(subvolume.root_fd(), inode);
  return path ? *path : fmt::format("inode {}", inode.value());
}

json describe_served_files(const Subjects& subjects) {
  json files = json::array();
  for (const fs::ServedFile& file : subjects.view.served_files()) {
    const auto version = subjects.replicator.find(file.serial);
    if (!version) continue;
    files.push_back({{"image", version->facts.image},
                     {"version", version->facts.number.value()},
                     {"path", path_of(subjects, *version, file.inode)},
                     {"handles", file.handles},
                     {"whole", file.whole}});
  }
  return files;
}

json describe_view(const Subjects& subjects, const replicator::VersionTable& table) {
  json directories = json::array(), hidden = json::array();
  for (const config::ViewDirectory& directory : subjects.configuration.directories) {
    directories.push_back(directory.name);
    if (std::ranges::binary_search(table.images, directory.name)) hidden.push_back(directory.name);
  }
  const auto type = fs::type_of_mount(subjects.mountpoint);
  return {{"mountpoint", subjects.configuration.mountpoint.string()},
          {"visible", type && *type == fs::filesystem_type},
          {"directories", std::move(directories)},
          {"hidden_images", std::move(hidden)},
          {"features", to_json(subjects.view.features())},
          {"served_files", describe_served_files(subjects)}};
}

json describe_worker(const Subjects& subjects) {
  json worker{{"process", ::getpid()},         {"held", subjects.holder != nullptr},
              {"starts", subjects.starts + 1}, {"last_end", nullptr},
              {"upgrade_failures", 0},         {"upgrade_failure", nullptr}};
  if (!subjects.last_end.empty()) worker["last_end"] = subjects.last_end;
  if (subjects.holder == nullptr) return worker;
  const holder::Channel::UpgradeFailures failures = subjects.holder->upgrade_failures();
  worker["upgrade_failures"] = failures.count;
  if (failures.count != 0) worker["upgrade_failure"] = failures.last;
  return worker;
}

// What the start found, without what is left to do about versions that were dropped since.
std::vector<repository::Finding> findings_left(const repository::Repository& repository,
                                               const replicator::VersionTable& table) {
  std::vector<repository::Finding> left = repository.recovery_findings();
  std::erase_if(left, [&](const repository::Finding& finding) {
    return !finding.settled && std::ranges::any_of(table.versions, [&](const auto& version) {
      return version.state == catalog::VersionState::remote && name_of(version) == finding.version;
    });
  });
  return left;
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
               {"version", icbd::version()},
               {"time", format_utc(SystemClock().wall())},
               {"repository", std::move(repository)},
               {"master", describe_master(subjects)},
               {"source", subjects.puller != nullptr
                              ? describe_pulling(*subjects.puller, subjects.configuration)
                              : json()},
               {"view", describe_view(subjects, *table)},
               {"worker", describe_worker(subjects)},
               {"wire", describe_wire(subjects)},
               {"images", table->images.size()},
               {"versions", count_states(*table)},
               {"arriving", std::move(arriving)},
               {"subscriptions", describe_subscriptions(subjects)},
               {"refused", std::move(refused)},
               {"recovery", to_json(findings_left(subjects.repository, *table))}}};
}

// It is executed with the cache's rights, and whoever reaches the port may ask for it: only what
// root has put beside the program that runs, under its name. The path is looked at as a text
// before anything else, part by part as it stands: it may lead into the view, which a worker never
// asks, and "X/.." is not where a symlink X lies.
Status check_program(const std::string& text) {
  const std::filesystem::path path(text);
  if (!path.is_absolute() || text.find_first_of(std::string_view("\n\0", 2)) != std::string::npos)
    return fail(ErrorCode::invalid_argument, "program must be an absolute path");
  std::error_code error;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail_errno("read /proc/self/exe", error.value());
  const std::filesystem::path folder = own.parent_path();
  if (path.parent_path() != folder || !path.filename().string().starts_with(program_name))
    return fail(ErrorCode::permission_denied,
                fmt::format("only a program beside the cache's own is executed: put it there, as "
                            "{}-NEXT or the like",
                            (folder / program_name).string()));
  if (::access(path.c_str(), X_OK) != 0)
    return fail_errno(fmt::format("{} cannot be executed", text));
  return {};
}

// {"program": "/path"}, or "" for the one that is installed. Answered when it has begun: what comes
// of it shows in `worker` of the status, and in the log.
Result<rest::Response> replace_worker(const Subjects& subjects, const rest::Request& request) {
  const json& body = request.body;
  const auto program = body.is_object() ? body.find("program") : body.end();
  if (!body.is_object() || body.size() != 1 || program == body.end() || !program->is_string())
    return fail(ErrorCode::invalid_argument, R"(the request needs a body: {"program": "…"})");
  const auto path = program->get<std::string>();
  if (subjects.holder == nullptr)
    return fail(ErrorCode::unsupported,
                "this cache runs without a holder ([view] holder is false): restart it");
  if (!path.empty()) ICBD_TRY(check_program(path));
  ICBD_TRY(notify_service_manager("X_UPGRADE=" + path));
  return rest::Response{.status = accepted, .body = {{"accepted", true}}};
}

}  // namespace

rest::Router make_router(const Subjects& subjects) {
  rest::Router router;
  const rest::CatalogReader reader = reader_of(subjects);
  rest::add_catalog_routes(router, reader);
  add_wish_routes(router, reader, subjects);
  node::add_verify_route(router, reader, subjects.verifications);
  router.add("GET", "/api/jobs/{id}",
             [subjects](const rest::Request&,
                        const rest::Router::Parameters& parameters) -> Result<rest::Response> {
               ICBD_ASSIGN(json job, subjects.verifications.describe(parameters.at("id")));
               return rest::Response{.body = std::move(job)};
             });
  router.add("POST", "/api/upgrade",
             [subjects](const rest::Request& request, const rest::Router::Parameters&) {
               return replace_worker(subjects, request);
             });
  router.add("GET", "/api/status",
             [subjects](const rest::Request&, const rest::Router::Parameters&) {
               return answer_status(subjects);
             });
  return router;
}

}  // namespace icbd::cache
