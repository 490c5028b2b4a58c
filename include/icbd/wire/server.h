// The data service: serves a Source to caches over framed connections.
//
// Accepts on a listening socket and runs one thread per connection that asks for little, two for
// one that asks for bytes, at most `max_connections`; a few more read and pack for all of them.
// Guarantees: hello comes first, with a protocol version that both know; of one connection,
// requests for extents are answered in order, and so are the others; every length is bounded before
// use; a slow peer holds only its own threads and a few MiB.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "icbd/base/log.h"
#include "icbd/base/unique_fd.h"
#include "icbd/source/source.h"

namespace icbd::wire {

struct ServerCounters {
  std::atomic<std::uint64_t> connections = 0;  // open now
  std::atomic<std::uint64_t> bytes_sent = 0;
  std::atomic<std::uint64_t> bytes_received = 0;
  std::atomic<std::uint64_t> requests = 0;
};

// Binds and listens; "127.0.0.1:0" takes any free port.
Result<unique_fd> listen_on(const std::string& address);
// The address that a listening socket really has, as "127.0.0.1:5010".
Result<std::string> bound_address(int listening_fd);

class Server {
 public:
  // Takes the listening socket; the source must outlive it. Serves at once.
  Server(unique_fd listening, source::Source& source, Logger logger,
         std::size_t max_connections = 1024);
  ~Server();  // as stop()
  // Closes the listening socket and every connection; returns when all threads have ended.
  void stop();
  const ServerCounters& counters() const;
  // Stretches of up to 1 MiB that were read and packed, and those that another cache wanted too.
  std::uint64_t units_prepared() const;
  std::uint64_t units_shared() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace icbd::wire
