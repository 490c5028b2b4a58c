#include "icbd/cache/cache.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "icbd/base/clock.h"
#include "icbd/fs/view.h"
#include "icbd/rest/api.h"
#include "icbd/rest/http.h"
#include "icbd/wire/server.h"

#include "event_follower.h"
#include "library.h"
#include "routes.h"

namespace icbd::cache {
namespace {

// A master that takes longer to accept a connection is treated as away.
constexpr std::chrono::milliseconds connect_timeout{3'000};

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unnamed";
}

replicator::FillPolicy fill_policy(std::string_view mode) {
  if (mode == "never") return replicator::FillPolicy::never;
  return mode == "demand-only" ? replicator::FillPolicy::demand_only
                               : replicator::FillPolicy::on_read;
}

replicator::ReplicatorOptions options_of(const config::Cache& configuration) {
  return {.fetch_timeout = configuration.fetch_timeout,
          .poll_interval = configuration.poll_interval,
          .offline_after = configuration.offline_after,
          .fill = fill_policy(configuration.fill),
          .fill_threshold = configuration.fill_threshold,
          .bandwidth_limit = configuration.bandwidth_limit,
          .space_reserve = configuration.space_reserve,
          .expected_source = configuration.master_repository,
          .policy = {.allow_device_nodes = configuration.allow_device_nodes,
                     .allow_setuid = configuration.allow_setuid,
                     .allow_security_xattrs = configuration.allow_security_xattrs}};
}

std::vector<fs::ViewDirectory> directories_of(const config::Cache& configuration) {
  std::vector<fs::ViewDirectory> directories;
  for (const config::ViewDirectory& directory : configuration.directories)
    directories.push_back({.name = directory.name, .source = directory.source});
  return directories;
}

}  // namespace

// In the order in which each part needs the ones before it.
struct Cache::State {
  Logger logger;
  std::filesystem::path mountpoint;
  SystemClock clock;
  std::unique_ptr<repository::Repository> repository;
  std::optional<wire::RemoteSource> source;
  std::optional<replicator::Replicator> replicator;
  std::optional<CacheLibrary> library;
  std::unique_ptr<fs::View> view;
  std::optional<EventFollower> follower;
  std::optional<node::VerifyJobs> verifications;
  std::string rest_address;
  rest::EventHub events;
  std::optional<rest::HttpServer> rest_service;
};

Result<std::unique_ptr<Cache>> Cache::start(const config::Cache& configuration, Logger logger,
                                            std::function<void()> on_unmounted) {
  std::unique_ptr<Cache> cache(new Cache(std::make_unique<State>()));
  State& state = *cache->state_;
  state.logger = logger;
  state.mountpoint = configuration.mountpoint;
  ICBD_ASSIGN(state.repository, repository::Repository::open(configuration.repository, logger));
  ICBD_TRY(rest::announce_changes(state.repository->catalog(), state.events));
  ICBD_ASSIGN(unique_fd rest_socket, wire::listen_on(configuration.rest_listen));
  ICBD_ASSIGN(state.rest_address, wire::bound_address(rest_socket.get()));
  state.source.emplace(wire::tcp_connector(configuration.master_data, connect_timeout),
                       wire::RemoteSourceOptions{.node_name = configuration.node_name.empty()
                                                                  ? host_name()
                                                                  : configuration.node_name},
                       logger);
  state.replicator.emplace(*state.repository, *state.source, state.clock, options_of(configuration),
                           logger);
  ICBD_TRY(state.replicator->start());
  state.library.emplace(*state.repository, *state.replicator);
  ICBD_ASSIGN(state.view, fs::View::mount(*state.library,
                                          {.mountpoint = configuration.mountpoint,
                                           .source = configuration.view_source.empty()
                                                         ? configuration.master_data
                                                         : configuration.view_source,
                                           .directories = directories_of(configuration),
                                           .on_end = std::move(on_unmounted)},
                                          logger));
  state.verifications.emplace(*state.repository, logger);
  state.follower.emplace(config::master_rest_of(configuration), *state.replicator, logger);
  state.rest_service.emplace(std::move(rest_socket),
                             make_router({.repository = *state.repository,
                                          .replicator = *state.replicator,
                                          .source = *state.source,
                                          .view = *state.view,
                                          .verifications = *state.verifications,
                                          .configuration = configuration}),
                             std::move(logger), rest::HttpServerOptions{.events = &state.events});
  return cache;
}

Cache::Cache(std::unique_ptr<State> state) : state_(std::move(state)) {}

Cache::~Cache() {
  stop();
}

void Cache::stop() {
  State& state = *state_;
  state.rest_service.reset();
  state.follower.reset();
  state.verifications.reset();
  if (state.view) state.view->unmount();
  // Ends what waits for the network; then the replicator answers whoever still waits, and only
  // then may the view's session go.
  if (state.source) state.source->stop();
  if (state.replicator) state.replicator->stop();
  state.view.reset();
  state.library.reset();
  state.replicator.reset();
  state.source.reset();
  state.repository.reset();
}

void Cache::reconfigure(const config::Cache& configuration) {
  // The level was checked with the configuration.
  static_cast<void>(set_level(*state_->logger, configuration.log_level));
  state_->replicator->reconfigure(options_of(configuration));
}

Status Cache::healthy() {
  ICBD_TRY(state_->repository->catalog().change_number());
  static_cast<void>(state_->replicator->versions());  // hangs if its lock is never given back
  // Answered by a thread of the view, through the kernel.
  struct statfs view{};
  if (::statfs(state_->mountpoint.c_str(), &view) != 0)
    return fail_errno("statfs " + state_->mountpoint.string());
  if (view.f_type != FUSE_SUPER_MAGIC)
    return fail(ErrorCode::io, state_->mountpoint.string() + ": something else is mounted here");
  return {};
}

const std::string& Cache::rest_address() const {
  return state_->rest_address;
}

}  // namespace icbd::cache
