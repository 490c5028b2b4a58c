#include "wish_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "icbd/base/limits.h"
#include "icbd/config/config.h"

#include "pull_status.h"

namespace icbd::cache {
namespace {

using nlohmann::json;
using rest::Request;
using rest::Response;
using rest::Router;

constexpr std::chrono::milliseconds quiet_before_drop{200};
constexpr std::chrono::milliseconds longest_wait_for_quiet{1'000};

std::vector<replicator::Hold> hold_of_open_files(VersionSerial serial, std::size_t open) {
  if (open == 0) return {};
  return {{serial, "open",
           open == 1 ? "a file of it is open" : fmt::format("{} files of it are open", open)}};
}

std::vector<replicator::Hold> hold_of_pull(const Subjects& subjects, VersionSerial serial) {
  if (subjects.puller == nullptr || !subjects.puller->needs(serial)) return {};
  return {{serial, "parent", "a snapshot is coming that shares with it"}};
}

// Whoever is just walking down to one of its files gets there first.
Status wait_until_quiet(const Subjects& subjects, const catalog::Version& version) {
  const auto deadline = std::chrono::steady_clock::now() + longest_wait_for_quiet;
  for (;;) {
    const auto quiet = subjects.view.quiet_for(version.serial);
    if (quiet >= quiet_before_drop) return {};
    if (std::chrono::steady_clock::now() >= deadline)
      return fail(ErrorCode::busy,
                  fmt::format("{}@{} is held: it is being looked into all the time",
                              version.facts.image, version.facts.number.value()));
    std::this_thread::sleep_for(quiet_before_drop - quiet);
  }
}

// What a route does with the version that its path names.
using OnVersion = std::function<Status(const catalog::Version&, const Request&)>;

// Answers with the version as it is then.
void add_version_route(Router& router, const rest::CatalogReader& reader, const char* method,
                       std::string_view below, OnVersion act) {
  router.add(method, fmt::format("/api/images/{{image}}/versions/{{version}}{}", below),
             [reader, act = std::move(act)](
                 const Request& request, const Router::Parameters& parameters) -> Result<Response> {
               ICBD_ASSIGN(const auto version, rest::find_version(reader, parameters));
               ICBD_TRY(act(version, request));
               Router::Parameters same = parameters;
               same["version"] = std::to_string(version.facts.number.value());
               return rest::show_version(reader, same);
             });
}

// {"reason": "…"}; no body is an empty reason.
Result<std::string> read_reason(const json& body) {
  if (body.is_null() || (body.is_object() && body.empty())) return std::string();
  const auto found = body.is_object() && body.size() == 1 ? body.find("reason") : body.end();
  if (found == body.end() || !found->is_string())
    return fail(ErrorCode::invalid_argument, R"(the request needs a body: {"reason": "…"})");
  return found->get<std::string>();
}

Status read_transfer(const json& value, catalog::Subscription& subscription) {
  if (!value.is_string() || std::ranges::find(config::transfer_modes, value.get<std::string>()) ==
                                config::transfer_modes.end())
    return fail(ErrorCode::invalid_argument, R"(transfer has to be "auto", "extents" or "stream")");
  subscription.transfer = value.get<std::string>();
  return {};
}

Result<catalog::Subscription> read_subscription(const std::string& image, const json& body) {
  catalog::Subscription subscription{.image = image};
  const auto latest = body.is_object() ? body.find("latest") : body.end();
  const auto tag = body.is_object() ? body.find("tag") : body.end();
  const auto transfer = body.is_object() ? body.find("transfer") : body.end();
  if (transfer != body.end()) ICBD_TRY(read_transfer(*transfer, subscription));
  const std::size_t expected = transfer == body.end() ? 1 : 2;
  if (latest != body.end() && body.size() == expected && latest->is_number_unsigned() &&
      latest->get<std::uint64_t>() <= UINT32_MAX)
    subscription.latest = latest->get<std::uint32_t>();
  else if (tag != body.end() && body.size() == expected && tag->is_string())
    subscription.tag = tag->get<std::string>();
  else
    return fail(ErrorCode::invalid_argument,
                R"(the request needs a body: {"latest": NUMBER} or {"tag": "…"}, and may say )"
                R"("transfer")");
  return subscription;
}

Result<Response> list_holds(const Subjects& subjects) {
  json list = json::array();
  const auto table = subjects.replicator.versions();
  for (const catalog::Version& version : table->versions)
    for (const replicator::Hold& hold : holds_of(subjects, version.serial)) {
      json description = to_json(hold);
      description["version"] = name_of(version);
      list.push_back(std::move(description));
    }
  return Response{.body = {{"holds", std::move(list)}}};
}

json describe(const replicator::SubscriptionStatus& status, bool offline) {
  const bool complete = status.behind_versions == 0 && !status.wanted.empty();
  const std::string_view behind = offline ? "offline" : "behind";
  json description = {{"image", status.subscription.image},
                      {"state", complete ? "complete" : behind},
                      {"behind_versions", status.behind_versions},
                      {"behind_bytes", status.behind_bytes},
                      {"wanted", json::array()}};
  for (const catalog::Version& version : status.wanted)
    description["wanted"].push_back(name_of(version));
  if (status.subscription.latest != 0) description["latest"] = status.subscription.latest;
  if (!status.subscription.tag.empty()) description["tag"] = status.subscription.tag;
  if (!status.subscription.transfer.empty()) description["transfer"] = status.subscription.transfer;
  if (!status.error.empty()) description["error"] = status.error;
  return description;
}

Response list_subscriptions(const Subjects& subjects) {
  return {.body = {{"subscriptions", describe_subscriptions(subjects)}}};
}

void look_at_source(const Subjects& subjects) {
  if (subjects.puller != nullptr) subjects.puller->look_now();
}

void add_subscription_routes(Router& router, const Subjects& subjects) {
  router.add("GET", "/api/subscriptions", [subjects](const Request&, const Router::Parameters&) {
    return list_subscriptions(subjects);
  });
  router.add(
      "PUT", "/api/subscriptions/{image}",
      [subjects](const Request& request, const Router::Parameters& parameters) -> Result<Response> {
        ICBD_ASSIGN(const auto subscription,
                    read_subscription(parameters.at("image"), request.body));
        ICBD_TRY(subjects.replicator.subscribe(subscription));
        look_at_source(subjects);
        return list_subscriptions(subjects);
      });
  router.add("DELETE", "/api/subscriptions/{image}",
             [subjects](const Request&, const Router::Parameters& parameters) -> Result<Response> {
               ICBD_TRY(subjects.replicator.unsubscribe(parameters.at("image")));
               return list_subscriptions(subjects);
             });
}

}  // namespace

std::string name_of(const catalog::Version& version) {
  return fmt::format("{}@{}", version.facts.image, version.facts.number.value());
}

std::vector<replicator::Hold> holds_of(const Subjects& subjects, VersionSerial serial) {
  auto holds = subjects.replicator.holds(serial);
  std::ranges::move(hold_of_pull(subjects, serial), std::back_inserter(holds));
  std::ranges::move(hold_of_open_files(serial, subjects.view.open_handles(serial)),
                    std::back_inserter(holds));
  return holds;
}

json to_json(const replicator::Hold& hold) {
  return {{"kind", hold.kind}, {"detail", hold.detail}};
}

json describe_subscriptions(const Subjects& subjects) {
  json list = json::array();
  const bool reachable = subjects.puller != nullptr ? subjects.puller->status().reachable
                                                    : subjects.replicator.source_status().reachable;
  for (replicator::SubscriptionStatus& status : subjects.replicator.subscriptions()) {
    if (subjects.puller != nullptr) add_what_is_there(status, *subjects.puller);
    list.push_back(describe(status, !reachable));
  }
  return list;
}

void add_wish_routes(Router& router, const rest::CatalogReader& reader, const Subjects& subjects) {
  replicator::Replicator& replicator = subjects.replicator;
  add_version_route(router, reader, "POST", "/pull",
                    [subjects](const catalog::Version& version, const Request&) -> Status {
                      ICBD_TRY(subjects.replicator.pull(version.serial));
                      look_at_source(subjects);
                      return {};
                    });
  add_version_route(router, reader, "POST", "/unpull",
                    [&replicator](const catalog::Version& version, const Request&) {
                      return replicator.unpull(version.serial);
                    });
  add_version_route(router, reader, "DELETE", "",
                    [subjects](const catalog::Version& version, const Request&) -> Status {
                      ICBD_TRY(wait_until_quiet(subjects, version));
                      return subjects.replicator.drop(version.serial, [&](VersionSerial serial) {
                        if (auto held = hold_of_pull(subjects, serial); !held.empty()) return held;
                        return hold_of_open_files(serial, subjects.view.forget_unless_open(serial));
                      });
                    });
  add_version_route(
      router, reader, "PUT", "/pin",
      [&replicator](const catalog::Version& version, const Request& request) -> Status {
        ICBD_ASSIGN(std::string reason, read_reason(request.body));
        return replicator.pin(version.serial, std::move(reason));
      });
  add_version_route(router, reader, "DELETE", "/pin",
                    [&replicator](const catalog::Version& version, const Request&) {
                      return replicator.unpin(version.serial);
                    });
  router.add("GET", "/api/holds", [subjects](const Request&, const Router::Parameters&) {
    return list_holds(subjects);
  });
  add_subscription_routes(router, subjects);
}

}  // namespace icbd::cache
