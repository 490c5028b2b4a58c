#include "icbd/master/master.h"

#include <mutex>
#include <optional>

#include "icbd/fs/view.h"
#include "icbd/library/repository_library.h"
#include "icbd/node/stream_route.h"
#include "icbd/node/verify_jobs.h"
#include "icbd/repository/repository.h"
#include "icbd/rest/api.h"
#include "icbd/source/repository_source.h"
#include "icbd/wire/server.h"

#include "adoption_jobs.h"
#include "publish_jobs.h"
#include "routes.h"
#include "tag_routes.h"

namespace icbd::master {

// In the order in which each part needs the ones before it.
struct Master::State {
  Logger logger;
  std::unique_ptr<repository::Repository> repository;
  std::string rest_address;
  std::string data_address;
  std::optional<source::RepositorySource> source;
  std::optional<PublishJobs> jobs;
  std::optional<AdoptionJobs> adoptions;
  std::optional<node::VerifyJobs> verifications;
  std::optional<library::RepositoryLibrary> library;
  std::mutex view_mutex;  // guards the pointer against the catalog's observer
  std::unique_ptr<fs::View> view;
  std::optional<wire::Server> data_service;
  rest::EventHub events;
  std::optional<rest::HttpServer> rest_service;

  // What was shown before is destroyed without the lock: the catalog may be calling.
  void show(std::unique_ptr<fs::View> next) {
    {
      const std::lock_guard lock(view_mutex);
      view.swap(next);
    }
    if (view) view->library_changed();
  }
};

namespace {

constexpr std::chrono::seconds longest_view_operation{30};

rest::Router make_router(const Subjects& subjects, AdoptionJobs& adoptions,
                         node::VerifyJobs& verifications) {
  rest::Router router;
  const rest::CatalogReader reader = rest::read_catalog(subjects.repository.catalog());
  rest::add_catalog_routes(router, reader);
  add_tag_routes(router, reader, subjects.repository.catalog());
  node::add_verify_route(router, reader, verifications);
  node::add_stream_route(router, reader, subjects.repository);
  add_status_route(router, subjects);
  add_publish_routes(
      router, subjects.jobs,
      [&repository = subjects.repository](const repository::PublishRequest& request) {
        return repository::plan_publication(repository, request);
      });
  add_adoption_routes(
      router, adoptions,
      [&repository = subjects.repository](const repository::AdoptionRequest& request) {
        return repository::plan_adoption(repository, request);
      });
  add_job_routes(router, subjects.jobs, adoptions, verifications);
  return router;
}

Result<std::unique_ptr<fs::View>> mount_view(library::RepositoryLibrary& library,
                                             const config::Master& configuration,
                                             const Logger& logger) {
  fs::ViewOptions options{.mountpoint = configuration.mountpoint};
  for (const config::ViewDirectory& directory : configuration.directories)
    options.directories.push_back({.name = directory.name, .source = directory.source});
  // Unmounted by somebody: the master goes on without it.
  options.on_end = [logger] { logger->warn("the view was unmounted"); };
  return fs::View::mount(library, std::move(options), logger);
}

}  // namespace

Result<std::unique_ptr<Master>> Master::start(const config::Master& configuration, Logger logger) {
  std::unique_ptr<Master> master(new Master(std::make_unique<State>()));
  State& state = *master->state_;
  state.logger = logger;
  ICBD_ASSIGN(state.repository, repository::Repository::open(configuration.repository, logger));
  ICBD_TRY(rest::announce_changes(state.repository->catalog(), state.events, [&state] {
    const std::lock_guard lock(state.view_mutex);
    if (state.view) state.view->library_changed();
  }));
  // Both ports before either service, so that a port that is taken is found before anyone is
  // answered.
  ICBD_ASSIGN(unique_fd data_socket, wire::listen_on(configuration.data_listen));
  ICBD_ASSIGN(unique_fd rest_socket, wire::listen_on(configuration.rest_listen));
  ICBD_ASSIGN(state.data_address, wire::bound_address(data_socket.get()));
  ICBD_ASSIGN(state.rest_address, wire::bound_address(rest_socket.get()));
  state.source.emplace(*state.repository);
  logger->info("caches are served with {}", state.source->reads_with());
  state.jobs.emplace(
      [repository = state.repository.get()](const repository::PublishRequest& request,
                                            repository::PublishProgress& progress) {
        return repository::publish(*repository, request, progress);
      },
      logger);
  state.adoptions.emplace(
      state.repository->catalog(),
      [repository = state.repository.get()](const catalog::Adoption& adoption,
                                            repository::PublishProgress& progress) {
        return repository::adopt(*repository, adoption, progress);
      },
      logger);
  state.verifications.emplace(*state.repository, logger);
  state.library.emplace(*state.repository);
  if (!configuration.mountpoint.empty()) {
    ICBD_ASSIGN(auto view, mount_view(*state.library, configuration, logger));
    state.show(std::move(view));
  }
  state.data_service.emplace(std::move(data_socket), *state.source, logger);
  state.rest_service.emplace(std::move(rest_socket),
                             make_router({.repository = *state.repository,
                                          .data_service = *state.data_service,
                                          .data_address = state.data_address,
                                          .jobs = *state.jobs,
                                          .events = state.events},
                                         *state.adoptions, *state.verifications),
                             std::move(logger), rest::HttpServerOptions{.events = &state.events});
  return master;
}

Master::Master(std::unique_ptr<State> state) : state_(std::move(state)) {}

Master::~Master() {
  stop();
}

void Master::stop() {
  state_->rest_service.reset();
  state_->data_service.reset();
  state_->show(nullptr);
  state_->library.reset();
  state_->verifications.reset();
  state_->adoptions.reset();
  state_->jobs.reset();
  state_->source.reset();
  state_->repository.reset();
}

void Master::reconfigure(const config::Master& configuration) {
  // The level was checked with the configuration.
  static_cast<void>(set_level(*state_->logger, configuration.log_level));
}

Status Master::healthy() {
  ICBD_TRY(state_->repository->catalog().change_number());
  if (!state_->view) return {};
  return state_->view->check_responsive(longest_view_operation);
}

const std::string& Master::rest_address() const {
  return state_->rest_address;
}
const std::string& Master::data_address() const {
  return state_->data_address;
}

}  // namespace icbd::master
