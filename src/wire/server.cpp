#include "icbd/wire/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

#include "extent_engine.h"
#include "frame_socket.h"
#include "messages.h"
#include "serve_connection.h"

namespace icbd::wire {
namespace {

// How long accept(2) rests when the process is out of descriptors.
constexpr int exhausted_pause_ms = 100;

// A connection over the limit is told so; whether it hears it is its own matter.
void turn_away(unique_fd socket, ServerCounters& counters) {
  FrameSocket frames(std::move(socket), {counters.bytes_sent, counters.bytes_received});
  const Error reason(ErrorCode::busy, "the master has as many connections as it allows");
  static_cast<void>(frames.send({.type = FrameType::error, .request_id = 0}, encode(reason)));
}

}  // namespace

struct Server::State {
  struct Client {
    unique_fd socket;  // a duplicate: shut down by stop() while the thread owns its own
    std::thread thread;
    bool ended = false;
  };

  unique_fd listening;
  source::Source& source;
  ExtentEngine engine{source, {}};
  Logger logger;
  const std::size_t max_connections;
  ServerCounters counters;
  std::mutex mutex;
  // Guarded by mutex:
  std::list<Client> clients;
  bool stopping = false;
  std::thread acceptor;

  void accept_clients();
  void start(unique_fd socket);
  void join_ended();
};

void Server::State::accept_clients() {
  while (true) {
    unique_fd socket(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const int error = errno;
    {
      const std::lock_guard lock(mutex);
      if (stopping) return;
    }
    join_ended();
    if (socket) {
      start(std::move(socket));
    } else if (error != EINTR && error != ECONNABORTED) {
      logger->warn("{}", Error::from_errno("accept a data connection", error).message());
      poll(nullptr, 0, exhausted_pause_ms);
    }
  }
}

void Server::State::start(unique_fd socket) {
  const std::lock_guard lock(mutex);
  if (stopping) return;
  if (clients.size() >= max_connections) {
    logger->warn("a data connection was refused: {} are open already", clients.size());
    return turn_away(std::move(socket), counters);
  }
  unique_fd duplicate(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate) {
    logger->warn("{}", Error::from_errno("duplicate a connection", errno).message());
    return;
  }
  Client& client = clients.emplace_back();
  client.socket = std::move(duplicate);
  try {
    client.thread = std::thread([this, &client, owned = std::move(socket)]() mutable {
      serve_connection(std::move(owned), source, engine, counters, logger);
      const std::lock_guard ending(mutex);
      // Now, not when it is joined: the peer would see the connection open until then.
      client.socket.reset();
      client.ended = true;
    });
  } catch (const std::system_error& error) {
    logger->warn("a data connection was refused: start a thread: {}", error.what());
    clients.pop_back();
  }
}

void Server::State::join_ended() {
  std::list<Client> ended;
  {
    const std::lock_guard lock(mutex);
    for (auto client = clients.begin(); client != clients.end();) {
      const auto next = std::next(client);
      if (client->ended) ended.splice(ended.end(), clients, client);
      client = next;
    }
  }
  for (Client& client : ended) client.thread.join();
}

Server::Server(unique_fd listening, source::Source& source, Logger logger,
               std::size_t max_connections)
    : state_(new State{.listening = std::move(listening),
                       .source = source,
                       .logger = std::move(logger),
                       .max_connections = max_connections,
                       .counters = {},
                       .mutex = {},
                       .clients = {},
                       .acceptor = {}}) {
  state_->acceptor = std::thread([state = state_.get()] { state->accept_clients(); });
}

Server::~Server() {
  stop();
}

void Server::stop() {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->stopping) return;
    state_->stopping = true;
    ::shutdown(state_->listening.get(), SHUT_RDWR);  // wakes accept(2)
    for (const State::Client& client : state_->clients)
      if (client.socket) ::shutdown(client.socket.get(), SHUT_RDWR);
  }
  state_->acceptor.join();
  state_->listening.reset();
  for (State::Client& client : state_->clients) client.thread.join();
  state_->clients.clear();
}

const ServerCounters& Server::counters() const {
  return state_->counters;
}

std::uint64_t Server::units_prepared() const {
  return state_->engine.counters().units_prepared;
}
std::uint64_t Server::units_shared() const {
  return state_->engine.counters().units_shared;
}

}  // namespace icbd::wire
