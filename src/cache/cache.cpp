#include "icbd/cache/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <mutex>
#include <optional>

#include "icbd/base/clock.h"
#include "icbd/base/service_manager.h"
#include "icbd/config/ssh_location.h"
#include "icbd/fs/mount_table.h"
#include "icbd/fs/view.h"
#include "icbd/pull/puller.h"
#include "icbd/rest/api.h"
#include "icbd/rest/http.h"
#include "icbd/wire/server.h"

#include "event_follower.h"
#include "library.h"
#include "no_source.h"
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

// Whether versions come from a machine that runs no icbd.
bool pulls(const config::Cache& configuration) {
  return !configuration.source_url.empty();
}

applier::Policy policy_of(const config::Cache& configuration) {
  return {.allow_device_nodes = configuration.allow_device_nodes,
          .allow_setuid = configuration.allow_setuid,
          .allow_security_xattrs = configuration.allow_security_xattrs};
}

// What is pulled comes as a whole or not at all: a read begins nothing.
replicator::ReplicatorOptions options_of(const config::Cache& configuration) {
  return {.fetch_timeout = configuration.fetch_timeout,
          .poll_interval = configuration.poll_interval,
          .offline_after = configuration.offline_after,
          .fill = pulls(configuration) ? replicator::FillPolicy::never
                                       : fill_policy(configuration.fill),
          .fill_threshold = configuration.fill_threshold,
          .transfer = replicator::transfer_mode(configuration.transfer),
          .bandwidth_limit = configuration.bandwidth_limit,
          .space_reserve = configuration.space_reserve,
          .expected_source = configuration.master_repository,
          .policy = policy_of(configuration),
          .pursue_wishes = !pulls(configuration)};
}

// The URL was checked with the configuration.
pull::PullerOptions puller_options_of(const config::Cache& configuration) {
  const auto location = config::parse_ssh_location(configuration.source_url);
  pull::Machine machine;
  if (location)
    machine = {.user = location->user,
               .host = location->host,
               .port = location->port,
               .directory = location->path};
  machine.key = configuration.source_key;
  machine.known_hosts = configuration.source_known_hosts;
  machine.ssh_options = configuration.source_ssh_options;
  machine.remote_command = configuration.source_remote_command;
  return {.machine = std::move(machine),
          .policy = policy_of(configuration),
          .poll_interval = configuration.source_interval,
          .bandwidth_limit = configuration.bandwidth_limit,
          .space_reserve = configuration.space_reserve};
}

// Versions of a master and those that were numbered here must not get into one line. The
// repository's own identity stands for "numbered here".
Status follow_nobody(repository::Repository& repository) {
  const catalog::NodeIdentity own = repository.catalog().identity();
  ICBD_ASSIGN(const auto followed, repository.catalog().followed_source());
  if (followed && followed->repository != own.uuid)
    return fail(ErrorCode::permission_denied,
                fmt::format("the repository {} follows a master (repository {}), and its numbers "
                            "are that master's: [source] url needs another [repository] path",
                            repository.directory().string(), followed->repository.to_string()));
  return repository.catalog().set_followed_source(
      {.repository = own.uuid, .epoch = own.epoch, .change_number = 0});
}

std::vector<fs::ViewDirectory> directories_of(const config::Cache& configuration) {
  std::vector<fs::ViewDirectory> directories;
  directories.reserve(configuration.directories.size());
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

// Nothing may look at the mountpoint itself: if this process goes on with a mount, nobody answers
// yet.
Result<std::filesystem::path> as_in_the_mount_table(const std::filesystem::path& mountpoint) {
  const auto normal = mountpoint.lexically_normal();
  const auto named = normal.has_filename() ? normal : normal.parent_path();
  std::error_code error;
  const auto parent = std::filesystem::canonical(named.parent_path(), error);
  if (error) return fail_errno(mountpoint.string(), error.value());
  return parent / named.filename();
}

// What the worker before has left, if there was one.
std::optional<fs::KeptMount> take_mount(Inheritance& inheritance) {
  unique_fd device = take(inheritance, mount_descriptor);
  if (!device) return {};
  return fs::KeptMount{.device = std::move(device), .memory = take(inheritance, memory_descriptor)};
}

}  // namespace

// In the order in which each part needs the ones before it.
struct Cache::State {
  Logger logger;
  std::filesystem::path mountpoint;
  std::chrono::milliseconds worker_timeout{};
  SystemClock clock;
  std::unique_ptr<repository::Repository> repository;
  std::unique_ptr<wire::RemoteSource> source;  // of a master; without one,
  NoSource no_source;
  std::unique_ptr<replicator::Replicator> replicator;
  std::unique_ptr<pull::Puller> puller;  // brings its versions
  std::unique_ptr<CacheLibrary> library;
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

  Result<unique_fd> listen(const config::Cache& configuration, Inheritance& inheritance);
  Result<source::Source*> open_source(const config::Cache& configuration);
  Status begin_replication(const config::Cache& configuration, bool goes_on);
  void begin_pulling(const config::Cache& configuration);
  Status mount_view(const config::Cache& configuration, const Inheritance& inheritance,
                    std::optional<fs::KeptMount> mount, std::function<void()> on_unmounted);
  void serve(const config::Cache& configuration, const Inheritance& inheritance,
             unique_fd rest_socket);
};

// Kept, so that a client which connects meanwhile waits instead of being refused; and so that a
// port that the kernel chose stays the same.
Result<unique_fd> Cache::State::listen(const config::Cache& configuration,
                                       Inheritance& inheritance) {
  unique_fd socket = take(inheritance, rest_descriptor);
  if (!socket) {
    ICBD_ASSIGN(socket, wire::listen_on(configuration.rest_listen));
    if (inheritance.holder != nullptr) ICBD_TRY(keep_descriptor(rest_descriptor, socket.get()));
  }
  ICBD_ASSIGN(rest_address, wire::bound_address(socket.get()));
  return socket;
}

Result<source::Source*> Cache::State::open_source(const config::Cache& configuration) {
  if (pulls(configuration)) {
    ICBD_TRY(follow_nobody(*repository));
    return &no_source;
  }
  source = std::make_unique<wire::RemoteSource>(
      wire::tcp_connector(configuration.master_data, connect_timeout),
      wire::RemoteSourceOptions{
          .node_name = configuration.node_name.empty() ? host_name() : configuration.node_name,
          .packing = configuration.packing},
      logger);
  return source.get();
}

Status Cache::State::begin_replication(const config::Cache& configuration, bool goes_on) {
  ICBD_ASSIGN(source::Source* const from, open_source(configuration));
  replicator::ReplicatorOptions options = options_of(configuration);
  options.ask_source_first = !goes_on;
  replicator = std::make_unique<replicator::Replicator>(*repository, *from, clock, options, logger);
  library = std::make_unique<CacheLibrary>(*repository, *replicator);
  replicator->set_observer([this] {
    {
      const std::lock_guard lock(view_mutex);
      if (view) view->library_changed();
    }
    if (const Status announced = rest::announce_again(repository->catalog(), events); !announced)
      logger->warn("what has changed is not announced: {}", announced.error().message());
  });
  replicator->set_lost_observer([this](VersionSerial serial) {
    const std::lock_guard lock(view_mutex);
    if (view) view->forget(serial);
  });
  return replicator->start();
}

void Cache::State::begin_pulling(const config::Cache& configuration) {
  puller = std::make_unique<pull::Puller>(
      *repository, clock, puller_options_of(configuration), logger, [this] {
        if (const Status shown = replicator->catalog_changed(); !shown)
          logger->error("what has arrived is not shown yet: {}", shown.error().message());
      });
  puller->start();
}

Status Cache::State::mount_view(const config::Cache& configuration, const Inheritance& inheritance,
                                std::optional<fs::KeptMount> mount,
                                std::function<void()> on_unmounted) {
  const bool goes_on = mount.has_value();
  ICBD_ASSIGN(auto next, fs::View::mount(*library,
                                         {.mountpoint = configuration.mountpoint,
                                          .source = configuration.view_source.empty()
                                                        ? config::source_of(configuration)
                                                        : configuration.view_source,
                                          .directories = directories_of(configuration),
                                          .features = features_of(configuration),
                                          .kept = std::move(mount),
                                          .on_end = std::move(on_unmounted)},
                                         logger));
  if (inheritance.holder != nullptr && !goes_on)
    ICBD_TRY(keep_mount(*next, configuration.mountpoint));
  log_view(*next, configuration, logger);
  show(std::move(next));
  return {};
}

void Cache::State::serve(const config::Cache& configuration, const Inheritance& inheritance,
                         unique_fd rest_socket) {
  verifications.emplace(*repository, logger);
  if (pulls(configuration))
    begin_pulling(configuration);
  else
    follower.emplace(config::master_rest_of(configuration), *replicator, logger);
  rest_service.emplace(std::move(rest_socket),
                       make_router({.repository = *repository,
                                    .replicator = *replicator,
                                    .source = source.get(),
                                    .puller = puller.get(),
                                    .view = *view,
                                    .verifications = *verifications,
                                    .configuration = configuration,
                                    .holder = inheritance.holder,
                                    .starts = inheritance.turn.starts,
                                    .last_end = inheritance.turn.last_end,
                                    .mountpoint = mountpoint}),
                       logger, rest::HttpServerOptions{.events = &events});
}

Result<std::unique_ptr<Cache>> Cache::start(const config::Cache& configuration, Logger logger,
                                            Inheritance inheritance,
                                            std::function<void()> on_unmounted) {
  std::unique_ptr<Cache> cache(new Cache(std::make_unique<State>()));
  State& state = *cache->state_;
  state.logger = std::move(logger);
  state.worker_timeout = configuration.worker_timeout;
  std::optional<fs::KeptMount> mount = take_mount(inheritance);
  ICBD_ASSIGN(state.mountpoint, as_in_the_mount_table(configuration.mountpoint));
  ICBD_ASSIGN(state.repository,
              repository::Repository::open(configuration.repository, state.logger));
  ICBD_TRY(rest::announce_changes(state.repository->catalog(), state.events));
  ICBD_ASSIGN(unique_fd rest_socket, state.listen(configuration, inheritance));
  ICBD_TRY(state.begin_replication(configuration, mount.has_value()));
  ICBD_TRY(state.mount_view(configuration, inheritance, std::move(mount), std::move(on_unmounted)));
  state.serve(configuration, inheritance, std::move(rest_socket));
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
  State& state = *state_;
  // While readers are still answered: they wait for what comes after.
  if (state.replicator) state.replicator->checkpoint();
  end([](fs::View& view) { view.hand_over(); });
}

void Cache::end(const std::function<void(fs::View&)>& leave) {
  State& state = *state_;
  state.rest_service.reset();
  state.follower.reset();
  state.verifications.reset();
  if (state.view) leave(*state.view);
  if (state.puller) state.puller->stop();
  // Ends what waits for the network; then the replicator answers whoever still waits, and only
  // then may the view's session go.
  if (state.source) state.source->stop();
  if (state.replicator) state.replicator->stop();
  state.show(nullptr);
  state.library.reset();
  state.puller.reset();
  state.replicator.reset();
  state.source.reset();
  state.repository.reset();
}

void Cache::reconfigure(const config::Cache& configuration) {
  // The level was checked with the configuration.
  State& state = *state_;
  static_cast<void>(set_level(*state.logger, configuration.log_level));
  if (state.replicator) state.replicator->reconfigure(options_of(configuration));
  if (state.puller) state.puller->reconfigure(puller_options_of(configuration));
}

Status Cache::healthy() {
  State& state = *state_;
  if (!state.replicator || !state.view)
    return fail(ErrorCode::unavailable, "this cache was stopped");
  ICBD_TRY(state.repository->catalog().change_number());
  static_cast<void>(state.replicator->versions());  // hangs if its lock is never given back
  return state.view->check_responsive(state.worker_timeout);
}

const std::string& Cache::rest_address() const {
  return state_->rest_address;
}

}  // namespace icbd::cache
