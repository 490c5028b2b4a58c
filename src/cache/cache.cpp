#include "icbd/cache/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <mutex>
#include <optional>

#include "icbd/base/clock.h"
#include "icbd/base/service_manager.h"
#include "icbd/fs/mount_table.h"
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

fs::Features features_of(const config::Cache& configuration) {
  return {.passthrough = configuration.passthrough,
          .resend = configuration.resend,
          .directory_cache = configuration.directory_cache,
          .readdirplus = configuration.readdirplus};
}

// Names under which a holder keeps descriptors.
constexpr std::string_view rest_descriptor = "rest";
constexpr std::string_view mount_descriptor = "mount";
constexpr std::string_view memory_descriptor = "memory";

unique_fd take(Inheritance& inheritance, std::string_view name) {
  for (holder::Descriptor& kept : inheritance.turn.descriptors)
    if (kept.name == name) return std::move(kept.descriptor);
  return {};
}

Status keep_mount(const fs::View& view, const std::filesystem::path& mountpoint) {
  const fs::View::Kept kept = view.kept();
  ICBD_TRY(keep_descriptor(memory_descriptor, kept.memory));
  ICBD_TRY(keep_descriptor(mount_descriptor, kept.device));
  return notify_service_manager("X_UNMOUNT=" + mountpoint.string());
}

// Once per start: what the kernel cannot do, and what that costs.
void log_view(const fs::View& view, const config::Cache& configuration, const Logger& logger) {
  const fs::Features used = view.features();
  if (configuration.passthrough && !used.passthrough)
    logger->warn(
        "this kernel has no FUSE passthrough (Linux 6.9): what is here is read through "
        "icbd, which costs processor time");
}

}  // namespace

// In the order in which each part needs the ones before it.
struct Cache::State {
  Logger logger;
  std::filesystem::path mountpoint;
  std::chrono::milliseconds worker_timeout{};
  SystemClock clock;
  std::unique_ptr<repository::Repository> repository;
  std::optional<wire::RemoteSource> source;
  std::optional<replicator::Replicator> replicator;
  std::optional<CacheLibrary> library;
  std::mutex view_mutex;  // guards the pointer against the replicator's observer
  std::unique_ptr<fs::View> view;
  std::optional<EventFollower> follower;
  std::optional<node::VerifyJobs> verifications;
  std::string rest_address;
  rest::EventHub events;
  std::optional<rest::HttpServer> rest_service;

  // What was shown before is destroyed without the lock: the replicator may be calling.
  void show(std::unique_ptr<fs::View> next) {
    {
      const std::lock_guard lock(view_mutex);
      view.swap(next);
    }
    if (view) view->library_changed();
  }
};

Result<std::unique_ptr<Cache>> Cache::start(const config::Cache& configuration, Logger logger,
                                            Inheritance inheritance,
                                            std::function<void()> on_unmounted) {
  std::unique_ptr<Cache> cache(new Cache(std::make_unique<State>()));
  State& state = *cache->state_;
  state.logger = logger;
  state.worker_timeout = configuration.worker_timeout;
  unique_fd rest_socket = take(inheritance, rest_descriptor);
  std::optional<fs::KeptMount> mount;
  if (unique_fd device = take(inheritance, mount_descriptor))
    mount =
        fs::KeptMount{.device = std::move(device), .memory = take(inheritance, memory_descriptor)};
  const bool goes_on = mount.has_value();
  // As the kernel's table names it. Nothing may look at the mountpoint itself: if this process goes
  // on with a mount, nobody answers yet.
  std::error_code error;
  const auto normal = configuration.mountpoint.lexically_normal();
  const auto parent = std::filesystem::canonical(
      normal.has_filename() ? normal.parent_path() : normal.parent_path().parent_path(), error);
  if (error) return fail_errno(configuration.mountpoint.string(), error.value());
  state.mountpoint = parent / (normal.has_filename() ? normal : normal.parent_path()).filename();
  ICBD_ASSIGN(state.repository, repository::Repository::open(configuration.repository, logger));
  ICBD_TRY(rest::announce_changes(state.repository->catalog(), state.events));
  // Kept, too, so that a client which connects meanwhile waits instead of being refused; and so
  // that a port that the kernel chose stays the same.
  if (!rest_socket) {
    ICBD_ASSIGN(rest_socket, wire::listen_on(configuration.rest_listen));
    if (inheritance.holder != nullptr)
      ICBD_TRY(keep_descriptor(rest_descriptor, rest_socket.get()));
  }
  ICBD_ASSIGN(state.rest_address, wire::bound_address(rest_socket.get()));
  state.source.emplace(
      wire::tcp_connector(configuration.master_data, connect_timeout),
      wire::RemoteSourceOptions{
          .node_name = configuration.node_name.empty() ? host_name() : configuration.node_name,
          .packing = configuration.packing},
      logger);
  replicator::ReplicatorOptions options = options_of(configuration);
  options.ask_source_first = !goes_on;
  state.replicator.emplace(*state.repository, *state.source, state.clock, options, logger);
  state.library.emplace(*state.repository, *state.replicator);
  state.replicator->set_observer([&state] {
    const std::lock_guard lock(state.view_mutex);
    if (state.view) state.view->library_changed();
  });
  state.replicator->set_lost_observer([&state](VersionSerial serial) {
    const std::lock_guard lock(state.view_mutex);
    if (state.view) state.view->forget(serial);
  });
  ICBD_TRY(state.replicator->start());
  ICBD_ASSIGN(auto view, fs::View::mount(*state.library,
                                         {.mountpoint = configuration.mountpoint,
                                          .source = configuration.view_source.empty()
                                                        ? configuration.master_data
                                                        : configuration.view_source,
                                          .directories = directories_of(configuration),
                                          .features = features_of(configuration),
                                          .kept = std::move(mount),
                                          .on_end = std::move(on_unmounted)},
                                         logger));
  if (inheritance.holder != nullptr && !goes_on)
    ICBD_TRY(keep_mount(*view, configuration.mountpoint));
  log_view(*view, configuration, logger);
  state.show(std::move(view));
  state.verifications.emplace(*state.repository, logger);
  state.follower.emplace(config::master_rest_of(configuration), *state.replicator, logger);
  state.rest_service.emplace(std::move(rest_socket),
                             make_router({.repository = *state.repository,
                                          .replicator = *state.replicator,
                                          .source = *state.source,
                                          .view = *state.view,
                                          .verifications = *state.verifications,
                                          .configuration = configuration,
                                          .holder = inheritance.holder,
                                          .starts = inheritance.turn.starts,
                                          .last_end = inheritance.turn.last_end,
                                          .mountpoint = state.mountpoint}),
                             std::move(logger), rest::HttpServerOptions{.events = &state.events});
  return cache;
}

Cache::Cache(std::unique_ptr<State> state) : state_(std::move(state)) {}

Cache::~Cache() {
  stop();
}

void Cache::stop() {
  end([](fs::View& view) { view.unmount(); });
}

void Cache::hand_over() {
  // While readers are still answered: they wait for what comes after.
  if (state_->replicator) state_->replicator->checkpoint();
  end([](fs::View& view) { view.hand_over(); });
}

void Cache::end(const std::function<void(fs::View&)>& leave) {
  State& state = *state_;
  state.rest_service.reset();
  state.follower.reset();
  state.verifications.reset();
  if (state.view) leave(*state.view);
  // Ends what waits for the network; then the replicator answers whoever still waits, and only
  // then may the view's session go.
  if (state.source) state.source->stop();
  if (state.replicator) state.replicator->stop();
  state.show(nullptr);
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
  return state_->view->check_responsive(state_->worker_timeout);
}

const std::string& Cache::rest_address() const {
  return state_->rest_address;
}

}  // namespace icbd::cache
